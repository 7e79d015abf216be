import io.vertx.core.Handler;
import io.vertx.core.Vertx;
import io.vertx.ext.web.Router;
import io.vertx.ext.web.RoutingContext;

/** Vert.x with its router: says which route a path has reached. */
public class VertxPaths {
  public static void main(String[] arguments) {
    Vertx vertx = Vertx.vertx();
    Router router = Router.router(vertx);
    router.route("/admin/*").handler(says("hidden"));
    router.route("/api/status/*").handler(says("hidden"));
    router.route().handler(says("open"));
    vertx
        .createHttpServer()
        .requestHandler(router)
        .listen(0, "127.0.0.1")
        .onSuccess(server -> System.out.println("serving " + server.actualPort()));
  }

  private static Handler<RoutingContext> says(String word) {
    return context -> context.response().putHeader("Connection", "close").end(word);
  }
}

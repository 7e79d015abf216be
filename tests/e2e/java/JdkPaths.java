import com.sun.net.httpserver.HttpServer;
import java.net.InetSocketAddress;
import java.net.URI;

/** The JDK's own server: says what the path is to it, by whole segments, which its contexts ignore. */
public class JdkPaths {
  public static void main(String[] arguments) throws Exception {
    HttpServer server = HttpServer.create(new InetSocketAddress("127.0.0.1", 0), 0);
    server.createContext(
        "/",
        exchange -> {
          URI target = exchange.getRequestURI();
          boolean hidden = hidden(target.getPath()) || hidden(target.normalize().getPath());
          byte[] body = (hidden ? "hidden" : "open").getBytes();
          exchange.getResponseHeaders().set("Connection", "close");
          exchange.sendResponseHeaders(200, body.length);
          exchange.getResponseBody().write(body);
          exchange.close();
        });
    server.start();
    System.out.println("serving " + server.getAddress().getPort());
  }

  private static boolean hidden(String path) {
    return (path + "/").startsWith("/admin/") || (path + "/").startsWith("/api/status/");
  }
}

import io.undertow.Handlers;
import io.undertow.Undertow;
import io.undertow.UndertowOptions;
import io.undertow.server.HttpHandler;
import io.undertow.server.handlers.CanonicalPathHandler;
import java.net.InetSocketAddress;

/** Undertow, as lenient as it can be told to be: says which of its paths a path has reached. */
public class UndertowPaths {
  public static void main(String[] arguments) {
    HttpHandler hidden = exchange -> exchange.setPersistent(false).getResponseSender().send("hidden");
    HttpHandler open = exchange -> exchange.setPersistent(false).getResponseSender().send("open");
    HttpHandler paths =
        Handlers.path(open).addPrefixPath("/admin", hidden).addPrefixPath("/api/status", hidden);
    Undertow server =
        Undertow.builder()
            .addHttpListener(0, "127.0.0.1")
            .setServerOption(UndertowOptions.ALLOW_ENCODED_SLASH, true)
            .setServerOption(UndertowOptions.ALLOW_UNESCAPED_CHARACTERS_IN_URL, true)
            .setHandler(new CanonicalPathHandler(paths))
            .build();
    server.start();
    InetSocketAddress at = (InetSocketAddress) server.getListenerInfo().get(0).getAddress();
    System.out.println("serving " + at.getPort());
  }
}

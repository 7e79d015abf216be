import io.fusionauth.http.server.HTTPListenerConfiguration;
import io.fusionauth.http.server.HTTPServer;
import java.net.InetAddress;
import java.util.Set;

/**
 * FusionAuth's own server, and on it what its framework does with a path before it looks for the
 * action: letters behind the last dot are cut off.
 */
public class FusionPaths {
  private static final Set<String> HIDDEN = Set.of("/admin", "/api/status");

  public static void main(String[] arguments) throws Exception {
    int port = Integer.parseInt(arguments[0]);
    new HTTPServer()
        .withHandler(
            (request, response) -> {
              response.setHeader("Connection", "close");
              response.setStatus(200);
              byte[] body = (hidden(request.getPath()) ? "hidden" : "open").getBytes();
              response.getOutputStream().write(body);
              response.getOutputStream().close();
            })
        .withListener(new HTTPListenerConfiguration(InetAddress.getByName("127.0.0.1"), port))
        .start();
    System.out.println("serving " + port);
  }

  private static boolean hidden(String path) {
    String action = path.replaceFirst("\\.[A-Za-z]+/?$", "");
    return HIDDEN.stream().anyMatch(one -> (action + "/").startsWith(one + "/"));
  }
}

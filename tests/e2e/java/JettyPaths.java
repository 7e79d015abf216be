import java.nio.ByteBuffer;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.http.UriCompliance;
import org.eclipse.jetty.server.Handler;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;
import org.eclipse.jetty.util.Callback;

/** Jetty, as lenient as it can be told to be: says what the path is to it. */
public class JettyPaths {
  public static void main(String[] arguments) throws Exception {
    HttpConfiguration lenient = new HttpConfiguration();
    lenient.setUriCompliance(UriCompliance.UNSAFE);
    Server server = new Server();
    ServerConnector connector = new ServerConnector(server, new HttpConnectionFactory(lenient));
    connector.setHost("127.0.0.1");
    server.addConnector(connector);
    server.setHandler(
        new Handler.Abstract() {
          @Override
          public boolean handle(Request request, Response response, Callback callback) {
            String path = Request.getPathInContext(request);
            boolean hidden = (path + "/").startsWith("/admin/");
            hidden |= (path + "/").startsWith("/api/status/");
            response.getHeaders().put(HttpHeader.CONNECTION, "close");
            byte[] body = (hidden ? "hidden" : "open").getBytes();
            response.write(true, ByteBuffer.wrap(body), callback);
            return true;
          }
        });
    server.start();
    System.out.println("serving " + connector.getLocalPort());
  }
}

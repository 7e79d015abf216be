import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import org.apache.catalina.Context;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.startup.Tomcat;
import org.apache.tomcat.util.buf.EncodedSolidusHandling;

/** Tomcat, as lenient as it can be told to be: says which of its servlets a path has reached. */
public class TomcatPaths {
  public static void main(String[] arguments) throws Exception {
    Tomcat tomcat = new Tomcat();
    tomcat.setBaseDir(arguments[0]);
    Connector connector = new Connector();
    connector.setPort(0);
    connector.setProperty("address", "127.0.0.1");
    connector.setProperty("relaxedPathChars", "\"<>[\\]^`{|}");
    connector.setEncodedSolidusHandling(EncodedSolidusHandling.DECODE.getValue());
    connector.setAllowBackslash(true);
    tomcat.setConnector(connector);
    Context context = tomcat.addContext("", null);
    for (String word : new String[] {"open", "hidden"}) {
      Tomcat.addServlet(context, word, new Says(word));
    }
    context.addServletMappingDecoded("/", "open");
    context.addServletMappingDecoded("/admin/*", "hidden");
    context.addServletMappingDecoded("/api/status/*", "hidden");
    tomcat.start();
    System.out.println("serving " + connector.getLocalPort());
    tomcat.getServer().await();
  }

  private static class Says extends HttpServlet {
    private final String word;

    Says(String word) {
      this.word = word;
    }

    @Override
    protected void service(HttpServletRequest request, HttpServletResponse response)
        throws IOException {
      response.setHeader("Connection", "close");
      response.getWriter().print(word);
    }
  }
}

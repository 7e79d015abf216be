import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import jakarta.servlet.http.HttpSession;
import java.io.IOException;
import java.io.PrintWriter;
import java.nio.file.Files;
import java.nio.file.Path;

/** One page that tells which node answers, counts visits, and waits for as long as a test likes. */
public class Page extends HttpServlet {
  private static final String NODE = System.getProperty("e2e.node");
  private static final Path FOLDER = Path.of(System.getProperty("e2e.folder"));

  @Override
  protected void service(HttpServletRequest request, HttpServletResponse response)
      throws IOException {
    response.setContentType("text/plain");
    PrintWriter out = response.getWriter();
    switch (String.valueOf(request.getPathInfo())) {
      case "/session" -> {
        HttpSession session = request.getSession(true);
        Integer before = (Integer) session.getAttribute("visits");
        int visits = before == null ? 1 : before + 1;
        session.setAttribute("visits", visits);
        out.print(NODE + " " + visits + " " + session.getId());
      }
      case "/leave" -> {
        HttpSession session = request.getSession(false);
        if (session != null) {
          session.invalidate();
        }
        out.print(NODE);
      }
      case "/hold" -> {
        String name = request.getParameter("name");
        out.print(NODE + " ");
        if (request.getParameter("early") != null) {
          response.flushBuffer();
        }
        hold(name);
        out.print(name);
      }
      default ->
          out.print(
              String.join(
                  " ",
                  NODE,
                  request.getContextPath(),
                  request.getScheme() + "://" + request.getServerName() + ":"
                      + request.getServerPort(),
                  String.valueOf(request.isSecure()),
                  request.getRemoteAddr()));
    }
  }

  /** Notes that the request is here; returns when the test has written its permission. */
  private static void hold(String name) throws IOException {
    Files.createFile(FOLDER.resolve(name + ".held"));
    try {
      while (!Files.exists(FOLDER.resolve(name + ".go"))) {
        Thread.sleep(20);
      }
    } catch (InterruptedException interrupted) {
      throw new IOException(interrupted);
    }
  }
}

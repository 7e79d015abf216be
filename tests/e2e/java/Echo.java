import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.HexFormat;
import java.util.List;
import java.util.Random;

/** Tells what a container makes of a request, and answers as a test asks for. */
public class Echo extends HttpServlet {
  private static final String NODE = System.getProperty("e2e.node");
  private static final int PIECE = 10_000;
  private static final List<String> SEEN = Collections.synchronizedList(new ArrayList<>());

  @Override
  protected void service(HttpServletRequest request, HttpServletResponse response)
      throws IOException {
    response.setHeader("X-Node", NODE);
    switch (String.valueOf(request.getPathInfo())) {
      case "/facts" -> tell(request, response);
      case "/upload" -> say(response, digest(request.getInputStream()));
      case "/partly" -> {
        byte[] piece = request.getInputStream().readNBytes(number(request, "n"));
        say(response, String.valueOf(piece.length));
      }
      case "/ignore" -> say(response, "ignored");
      case "/download" -> download(request, response);
      case "/mirror" -> mirror(request, response);
      case "/big" -> {
        for (int left = number(request, "n"); left > 0; left -= 1000) {
          response.addHeader("X-Big", "v".repeat(1000));
        }
        say(response, "big");
      }
      case "/note" -> {
        SEEN.add(request.getParameter("id"));
        say(response, NODE);
      }
      case "/noted" -> say(response, String.join(" ", SEEN));
      default -> response.sendError(404);
    }
  }

  private static void tell(HttpServletRequest request, HttpServletResponse response)
      throws IOException {
    StringBuilder told = new StringBuilder();
    line(told, "method", request.getMethod());
    line(told, "uri", request.getRequestURI());
    line(told, "query", request.getQueryString());
    line(told, "protocol", request.getProtocol());
    line(told, "url", request.getRequestURL().toString());
    line(told, "server", request.getServerName() + " " + request.getServerPort());
    line(told, "secure", request.getScheme() + " " + request.isSecure());
    line(told, "remote", request.getRemoteAddr() + " " + request.getRemotePort());
    line(told, "local", request.getLocalAddr());
    line(told, "cipher", request.getAttribute("jakarta.servlet.request.cipher_suite"));
    line(told, "key_size", request.getAttribute("jakarta.servlet.request.key_size"));
    line(
        told,
        "tls",
        request.getAttribute("org.apache.tomcat.util.net.secure_protocol_version"));
    for (String name : Collections.list(request.getHeaderNames())) {
      for (String value : Collections.list(request.getHeaders(name))) {
        byte[] raw = value.getBytes(StandardCharsets.ISO_8859_1);
        line(told, "field " + name.toLowerCase(), HexFormat.of().formatHex(raw));
      }
    }
    response.addHeader("Set-Cookie", "A=1; Path=/");
    response.addHeader("Set-Cookie", "B=2; HttpOnly");
    response.setHeader("X-Text", "caf\u00e9");
    say(response, told.toString());
  }

  private static void line(StringBuilder told, String name, Object value) {
    told.append(name).append('=').append(value == null ? "" : value).append('\n');
  }

  private static String digest(InputStream body) throws IOException {
    MessageDigest digest = sha256();
    byte[] piece = new byte[PIECE];
    long length = 0;
    for (int read; (read = body.read(piece)) >= 0; length += read) {
      digest.update(piece, 0, read);
    }
    return length + " " + HexFormat.of().formatHex(digest.digest());
  }

  /** Bytes that a test can make, too: each is the low byte of its place times 31. */
  private static void download(HttpServletRequest request, HttpServletResponse response)
      throws IOException {
    int length = number(request, "n");
    if (request.getParameter("chunked") == null) {
      response.setContentLength(length);
    }
    int flushes = request.getParameter("flush") == null ? 0 : 1;
    OutputStream to = response.getOutputStream();
    Random sizes = new Random(length);
    for (int at = 0; at < length; ) {
      byte[] piece = new byte[Math.min(1 + sizes.nextInt(2 * PIECE), length - at)];
      for (int index = 0; index < piece.length; index++) {
        piece[index] = (byte) ((at + index) * 31 % 251);
      }
      to.write(piece);
      at += piece.length;
      if (flushes > 0) {
        to.flush();
      }
    }
  }

  /** Answers while it reads. */
  private static void mirror(HttpServletRequest request, HttpServletResponse response)
      throws IOException {
    InputStream from = request.getInputStream();
    OutputStream to = response.getOutputStream();
    byte[] piece = new byte[PIECE];
    for (int read; (read = from.read(piece)) >= 0; ) {
      to.write(piece, 0, read);
      to.flush();
    }
  }

  private static int number(HttpServletRequest request, String name) {
    return Integer.parseInt(request.getParameter(name));
  }

  private static void say(HttpServletResponse response, String text) throws IOException {
    byte[] raw = text.getBytes(StandardCharsets.ISO_8859_1);
    response.setContentType("text/plain");
    response.setContentLength(raw.length);
    response.getOutputStream().write(raw);
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException impossible) {
      throw new IllegalStateException(impossible);
    }
  }
}

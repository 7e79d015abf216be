import io.undertow.Undertow;
import io.undertow.UndertowOptions;
import io.undertow.servlet.Servlets;
import io.undertow.servlet.api.DeploymentInfo;
import io.undertow.servlet.api.DeploymentManager;

/** Echo on Undertow's AJP listener, as WildFly has it. */
public class UndertowNode {
  /** Arguments: address and port; the largest body. */
  public static void main(String[] arguments) throws Exception {
    DeploymentInfo deployment =
        Servlets.deployment()
            .setClassLoader(UndertowNode.class.getClassLoader())
            .setContextPath("/")
            .setDeploymentName("echo")
            .addServlet(Servlets.servlet("echo", Echo.class).addMapping("/app/*"));
    DeploymentManager manager = Servlets.defaultContainer().addDeployment(deployment);
    manager.deploy();
    Undertow.builder()
        .addAjpListener(Integer.parseInt(arguments[1]), arguments[0])
        .setServerOption(UndertowOptions.MAX_ENTITY_SIZE, Long.parseLong(arguments[2]))
        .setHandler(manager.start())
        .build()
        .start();
    System.out.println("serving");
  }
}

import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import org.apache.catalina.Container;
import org.apache.catalina.ContainerEvent;
import org.apache.catalina.ContainerListener;
import org.apache.catalina.Context;
import org.apache.catalina.Engine;
import org.apache.catalina.Host;
import org.apache.catalina.Lifecycle;
import org.apache.catalina.LifecycleEvent;
import org.apache.catalina.LifecycleListener;
import org.apache.catalina.LifecycleState;
import org.apache.catalina.Server;
import org.apache.catalina.Service;
import org.apache.catalina.connector.Connector;
import org.apache.catalina.connector.Request;
import org.apache.catalina.connector.Response;
import org.apache.catalina.valves.ValveBase;
import org.apache.tomcat.util.modeler.Registry;
import org.apache.tomcat.util.threads.ThreadPoolExecutor;
import org.jboss.modcluster.ModClusterService;
import org.jboss.modcluster.config.impl.ModClusterConfig;
import org.jboss.modcluster.config.impl.ProxyConfigurationImpl;
import org.jboss.modcluster.container.listeners.HttpSessionListener;
import org.jboss.modcluster.container.listeners.ServletRequestListener;
import org.jboss.modcluster.load.LoadBalanceFactorProvider;
import org.jboss.modcluster.load.LoadBalanceFactorProviderFactory;
import org.jboss.modcluster.load.impl.DynamicLoadBalanceFactorProvider;
import org.jboss.modcluster.load.metric.impl.BusyConnectorsLoadMetric;

/**
 * Tells mod_cluster's service of a Tomcat's life, where the project's own listener for Tomcat
 * cannot be fetched: the same attributes in server.xml, the same bean for management. All that
 * goes over the wire is mod_cluster's own code.
 */
public class Listener extends ModClusterConfig
    implements LifecycleListener, ContainerListener, LoadBalanceFactorProviderFactory {
  private final ModClusterService service = new ModClusterService(this, this);
  private final AtomicBoolean started = new AtomicBoolean();
  private String connectorAddress;
  private int connectorPort;
  private int loadHistory;
  private int initialLoad;

  public void setConnectorAddress(String address) {
    connectorAddress = address;
  }

  public void setConnectorPort(int port) {
    connectorPort = port;
  }

  public void setLoadHistory(int history) {
    loadHistory = history;
  }

  public void setInitialLoad(int load) {
    initialLoad = load;
  }

  public void setProxyList(String address) throws UnknownHostException {
    int colon = address.lastIndexOf(':');
    InetAddress host = InetAddress.getByName(address.substring(0, colon));
    int port = Integer.parseInt(address.substring(colon + 1));
    setProxyConfigurations(
        List.of(new ProxyConfigurationImpl(new InetSocketAddress(host, port))));
  }

  public void setExcludedContexts(String names) {
    Set<String> paths = new TreeSet<>();
    for (String each : names.split(",")) {
      paths.add("/" + each);
    }
    setExcludedContextsPerHost(Map.of("localhost", paths));
  }

  @Override
  public LoadBalanceFactorProvider createLoadBalanceFactorProvider() {
    var provider =
        new DynamicLoadBalanceFactorProvider(Set.of(new BusyConnectorsLoadMetric()), initialLoad);
    provider.setHistory(loadHistory);
    return provider;
  }

  public boolean disableContext(String host, String path) {
    return service.disableContext(host, path);
  }

  public boolean enableContext(String host, String path) {
    return service.enableContext(host, path);
  }

  public boolean stopContext(String host, String path, long seconds) {
    return service.stopContext(host, path, seconds, TimeUnit.SECONDS);
  }

  @Override
  public void lifecycleEvent(LifecycleEvent event) {
    if (event.getLifecycle() instanceof Server server) {
      serverEvent(server, event.getType());
    } else if (event.getLifecycle() instanceof Context context) {
      if (event.getType().equals(Lifecycle.AFTER_START_EVENT)) {
        service.start(new Application(context));
      } else if (event.getType().equals(Lifecycle.BEFORE_STOP_EVENT) && started.get()) {
        service.stop(new Application(context));
      }
    } else if (event.getLifecycle() instanceof Engine engine) {
      if (event.getType().equals(Lifecycle.PERIODIC_EVENT) && started.get()) {
        service.status(new Node(engine));
      }
    }
  }

  private void serverEvent(Server server, String type) {
    switch (type) {
      case Lifecycle.AFTER_INIT_EVENT -> {
        for (Service each : server.findServices()) {
          each.getContainer().addLifecycleListener(this);
          for (Container host : each.getContainer().findChildren()) {
            host.addContainerListener(this);
          }
        }
        service.init(new Nodes(server));
      }
      case Lifecycle.AFTER_START_EVENT -> {
        service.start(new Nodes(server));
        started.set(true);
        try {
          Registry.getRegistry(null, null)
              .registerComponent(this, "Catalina:type=ModClusterListener", null);
        } catch (Exception failed) {
          throw new IllegalStateException(failed);
        }
      }
      case Lifecycle.BEFORE_STOP_EVENT -> {
        if (started.getAndSet(false)) {
          service.stop(new Nodes(server));
        }
      }
      case Lifecycle.BEFORE_DESTROY_EVENT -> service.shutdown();
      default -> {}
    }
  }

  @Override
  public void containerEvent(ContainerEvent event) {
    if (event.getContainer() instanceof Host && event.getData() instanceof Context context) {
      if (event.getType().equals(Container.ADD_CHILD_EVENT)) {
        context.addLifecycleListener(this);
      } else if (event.getType().equals(Container.REMOVE_CHILD_EVENT)) {
        context.removeLifecycleListener(this);
        if (started.get()) {
          service.remove(new Application(context));
        }
      }
    }
  }

  private record Nodes(Server server) implements org.jboss.modcluster.container.Server {
    private static Listener listener(Engine engine) {
      for (LifecycleListener each : engine.findLifecycleListeners()) {
        if (each instanceof Listener listener) {
          return listener;
        }
      }
      throw new IllegalStateException("the engine is not listened to yet");
    }

    @Override
    public Iterable<org.jboss.modcluster.container.Engine> getEngines() {
      List<org.jboss.modcluster.container.Engine> engines = new ArrayList<>();
      for (Service each : server.findServices()) {
        engines.add(new Node(each.getContainer()));
      }
      return engines;
    }
  }

  private record Node(Engine engine) implements org.jboss.modcluster.container.Engine {
    @Override
    public String getName() {
      return engine.getName();
    }

    @Override
    public org.jboss.modcluster.container.Server getServer() {
      return new Nodes(engine.getService().getServer());
    }

    @Override
    public Iterable<org.jboss.modcluster.container.Host> getHosts() {
      List<org.jboss.modcluster.container.Host> hosts = new ArrayList<>();
      for (Container each : engine.findChildren()) {
        hosts.add(new VirtualHost((Host) each));
      }
      return hosts;
    }

    @Override
    public org.jboss.modcluster.container.Connector getProxyConnector() {
      Listener listener = Nodes.listener(engine);
      for (Connector each : engine.getService().findConnectors()) {
        Port port = new Port(each);
        if (each.getPort() == listener.connectorPort
            && port.getAddress().getHostAddress().equals(listener.connectorAddress)) {
          return port;
        }
      }
      throw new IllegalStateException("no connector is the one that is configured");
    }

    @Override
    public Iterable<org.jboss.modcluster.container.Connector> getConnectors() {
      List<org.jboss.modcluster.container.Connector> connectors = new ArrayList<>();
      for (Connector each : engine.getService().findConnectors()) {
        connectors.add(new Port(each));
      }
      return connectors;
    }

    @Override
    public String getJvmRoute() {
      return engine.getJvmRoute();
    }

    @Override
    public void setJvmRoute(String route) {
      engine.setJvmRoute(route);
    }

    @Override
    public org.jboss.modcluster.container.Host findHost(String name) {
      return engine.findChild(name) instanceof Host host ? new VirtualHost(host) : null;
    }

    @Override
    public String getSessionCookieName() {
      return "JSESSIONID";
    }

    @Override
    public String getSessionParameterName() {
      return "jsessionid";
    }

    @Override
    public String getDefaultHost() {
      return engine.getDefaultHost();
    }
  }

  private record VirtualHost(Host host) implements org.jboss.modcluster.container.Host {
    @Override
    public String getName() {
      return host.getName();
    }

    @Override
    public org.jboss.modcluster.container.Engine getEngine() {
      return new Node((Engine) host.getParent());
    }

    @Override
    public Iterable<org.jboss.modcluster.container.Context> getContexts() {
      List<org.jboss.modcluster.container.Context> contexts = new ArrayList<>();
      for (Container each : host.findChildren()) {
        contexts.add(new Application((Context) each));
      }
      return contexts;
    }

    @Override
    public Set<String> getAliases() {
      Set<String> names = new TreeSet<>(Arrays.asList(host.findAliases()));
      names.add(host.getName());
      return names;
    }

    @Override
    public org.jboss.modcluster.container.Context findContext(String path) {
      return host.findChild(path) instanceof Context context ? new Application(context) : null;
    }
  }

  private record Application(Context context) implements org.jboss.modcluster.container.Context {
    @Override
    public org.jboss.modcluster.container.Host getHost() {
      return new VirtualHost((Host) context.getParent());
    }

    @Override
    public String getPath() {
      return context.getPath();
    }

    @Override
    public boolean isStarted() {
      return context.getState() == LifecycleState.STARTED;
    }

    @Override
    public void addRequestListener(ServletRequestListener listener) {
      context.getPipeline().addValve(new Watch(listener));
    }

    @Override
    public void removeRequestListener(ServletRequestListener listener) {
      for (var valve : context.getPipeline().getValves()) {
        if (valve instanceof Watch watch && watch.listener == listener) {
          context.getPipeline().removeValve(valve);
        }
      }
    }

    @Override
    public void addSessionListener(HttpSessionListener listener) {
      List<Object> all = new ArrayList<>(Arrays.asList(context.getApplicationLifecycleListeners()));
      all.add(new Sessions(listener));
      context.setApplicationLifecycleListeners(all.toArray());
    }

    @Override
    public void removeSessionListener(HttpSessionListener listener) {
      List<Object> all = new ArrayList<>(Arrays.asList(context.getApplicationLifecycleListeners()));
      all.remove(new Sessions(listener));
      context.setApplicationLifecycleListeners(all.toArray());
    }

    @Override
    public int getActiveSessionCount() {
      return context.getManager() == null ? 0 : context.getManager().getActiveSessions();
    }

    @Override
    public boolean isDistributable() {
      return context.getDistributable();
    }
  }

  private static final class Watch extends ValveBase {
    private final ServletRequestListener listener;

    private Watch(ServletRequestListener listener) {
      super(true);
      this.listener = listener;
    }

    @Override
    public void invoke(Request request, Response response)
        throws java.io.IOException, jakarta.servlet.ServletException {
      listener.requestInitialized();
      try {
        getNext().invoke(request, response);
      } finally {
        listener.requestDestroyed();
      }
    }
  }

  private record Sessions(HttpSessionListener listener)
      implements jakarta.servlet.http.HttpSessionListener {
    @Override
    public void sessionCreated(jakarta.servlet.http.HttpSessionEvent event) {
      listener.sessionCreated();
    }

    @Override
    public void sessionDestroyed(jakarta.servlet.http.HttpSessionEvent event) {
      listener.sessionDestroyed();
    }
  }

  private record Port(Connector connector) implements org.jboss.modcluster.container.Connector {
    @Override
    public boolean isReverse() {
      return false;
    }

    @Override
    public Type getType() {
      if (connector.getProtocolHandlerClassName().contains(".ajp.")) {
        return Type.AJP;
      }
      return connector.getSecure() ? Type.HTTPS : Type.HTTP;
    }

    @Override
    public InetAddress getAddress() {
      return (InetAddress) connector.getProperty("address");
    }

    @Override
    public void setAddress(InetAddress address) {
      connector.setProperty("address", address.getHostAddress());
    }

    @Override
    public int getPort() {
      return connector.getPort();
    }

    @Override
    public boolean isAvailable() {
      return connector.getState() == LifecycleState.STARTED;
    }

    @Override
    public int getMaxThreads() {
      return (Integer) connector.getProperty("maxThreads");
    }

    @Override
    public int getBusyThreads() {
      return connector.getProtocolHandler().getExecutor() instanceof ThreadPoolExecutor pool
          ? pool.getActiveCount()
          : 0;
    }

    @Override
    public long getBytesSent() {
      return 0;
    }

    @Override
    public long getBytesReceived() {
      return 0;
    }

    @Override
    public long getRequestCount() {
      return 0;
    }
  }
}

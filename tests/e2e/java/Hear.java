import java.lang.reflect.Proxy;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.util.Scanner;
import java.util.concurrent.ThreadFactory;
import org.jboss.modcluster.advertise.impl.AdvertiseListenerImpl;
import org.jboss.modcluster.advertise.impl.DatagramChannelFactoryImpl;
import org.jboss.modcluster.config.ProxyConfiguration;
import org.jboss.modcluster.config.impl.AdvertiseConfigurationImpl;
import org.jboss.modcluster.mcmp.MCMPHandler;

/**
 * The listener of a real mod_cluster node, which says what it does. Arguments: group, port,
 * interface, and the security key if there is one. A line on standard input starts it anew, for one
 * bad datagram ends it for good.
 */
class Hear {
    public static void main(String[] arguments) throws Exception {
        InetAddress group = InetAddress.getByName(arguments[0]);
        InetSocketAddress address = new InetSocketAddress(group, Integer.parseInt(arguments[1]));
        NetworkInterface nic = NetworkInterface.getByName(arguments[2]);
        String key = arguments.length > 3 ? arguments[3] : null;
        MCMPHandler handler = (MCMPHandler) Proxy.newProxyInstance(
            Hear.class.getClassLoader(), new Class<?>[] {MCMPHandler.class}, Hear::called);
        Scanner lines = new Scanner(System.in);
        do {
            AdvertiseListenerImpl listener = new AdvertiseListenerImpl(
                handler,
                new AdvertiseConfigurationImpl(address, nic, key, Hear::thread),
                new DatagramChannelFactoryImpl());
            say("listening");
            if (!lines.hasNextLine()) return;
            lines.nextLine();
            listener.close();
        } while (true);
    }

    private static Object called(Object self, java.lang.reflect.Method method, Object[] arguments) {
        if (method.getName().equals("addProxy")) {
            Object what = arguments[0];
            InetSocketAddress proxy = what instanceof ProxyConfiguration
                ? ((ProxyConfiguration) what).getRemoteAddress() : (InetSocketAddress) what;
            say("proxy " + proxy.getAddress().getHostAddress() + " " + proxy.getPort());
        }
        return null;
    }

    private static Thread thread(Runnable work) {
        Thread thread = new Thread(() -> {
            try {
                work.run();
            } catch (Throwable error) {
                say("broken " + error);
            }
        });
        thread.setDaemon(true);
        return thread;
    }

    private static synchronized void say(String line) {
        System.out.println(line);
        System.out.flush();
    }
}

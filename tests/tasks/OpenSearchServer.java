import java.util.*;
import org.opensearch.common.settings.Settings;
import org.opensearch.node.*;
import org.opensearch.plugins.Plugin;
/** A cluster of one node, for tests: folder, port for HTTP, port for others. */
public class OpenSearchServer {
  static class One extends Node {
    One(Settings s, Collection<Class<? extends Plugin>> p) {
      super(InternalSettingsPreparer.prepareEnvironment(s, Map.of(), null, () -> "one"), p, false);
    }
  }
  public static void main(String[] a) throws Exception {
    Settings s = Settings.builder().put("path.home", a[0]).put("http.port", a[1]).put("transport.port", a[2])
      .put("discovery.type", "single-node").put("http.type", "netty4").put("transport.type", "netty4").put("network.host", "127.0.0.1")
      .put("cluster.name", "tests").put("cluster.routing.allocation.disk.threshold_enabled", false).build();
    Node n = new One(s, List.of(org.opensearch.transport.Netty4Plugin.class));
    n.start();
    Thread.currentThread().join();
  }
}

package updraft.peers;

import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.concurrent.TimeUnit;
import org.apache.hc.client5.http.async.methods.SimpleHttpRequest;
import org.apache.hc.client5.http.async.methods.SimpleHttpResponse;
import org.apache.hc.client5.http.async.methods.SimpleRequestBuilder;
import org.apache.hc.client5.http.config.ConnectionConfig;
import org.apache.hc.client5.http.impl.async.CloseableHttpAsyncClient;
import org.apache.hc.client5.http.impl.async.HttpAsyncClients;
import org.apache.hc.client5.http.impl.nio.PoolingAsyncClientConnectionManagerBuilder;
import org.apache.hc.core5.concurrent.FutureCallback;
import org.apache.hc.core5.http.Header;
import org.eclipse.californium.core.CoapResource;
import org.eclipse.californium.core.CoapServer;
import org.eclipse.californium.core.coap.CoAP.ResponseCode;
import org.eclipse.californium.core.coap.MediaTypeRegistry;
import org.eclipse.californium.core.coap.Response;
import org.eclipse.californium.core.config.CoapConfig;
import org.eclipse.californium.core.network.CoapEndpoint;
import org.eclipse.californium.core.network.Exchange;
import org.eclipse.californium.core.server.DelivererException;
import org.eclipse.californium.core.server.ServerMessageDeliverer;
import org.eclipse.californium.core.server.resources.CoapExchange;
import org.eclipse.californium.core.server.resources.Resource;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.elements.config.UdpConfig;
import org.eclipse.californium.scandium.DTLSConnector;
import org.eclipse.californium.scandium.config.DtlsConfig;
import org.eclipse.californium.scandium.config.DtlsConnectorConfig;
import org.eclipse.californium.scandium.dtls.cipher.CipherSuite;
import org.eclipse.californium.scandium.dtls.pskstore.AdvancedMultiPskStore;

/**
 * Californium under load: `Peers blocks PORT BODY` serves a file at /blob, which Californium slices; `Peers secure PORT
 * BODY KEY` does so through DTLS, for identities bench-0, bench-1, and on; `Peers proxy PORT` is a forward proxy from CoAP to HTTP. Its parts are those of Californium's proxy2: a resource found by Proxy-Uri and
 * Apache's asynchronous HttpClient with a pool.
 */
public final class Peers {
  private static final int CONNECTIONS = 256;
  private static final int SESSIONS = 10_000;

  static {
    CoapConfig.register();
    UdpConfig.register();
    DtlsConfig.register();
  }

  public static void main(String[] arguments) throws Exception {
    Configuration config = Configuration.createStandardWithoutFile();
    // What Californium's own benchmark server sets: remember few messages a peer, keep all peers.
    config.set(CoapConfig.DEDUPLICATOR, CoapConfig.DEDUPLICATOR_PEERS_MARK_AND_SWEEP);
    config.set(CoapConfig.MAX_ACTIVE_PEERS, 20000);
    config.set(CoapConfig.MAX_RESOURCE_BODY_SIZE, 8 << 20);
    config.set(CoapConfig.MAX_MESSAGE_SIZE, 1024);
    config.set(CoapConfig.PREFERRED_BLOCK_SIZE, 1024);
    config.set(CoapConfig.RESPONSE_MATCHING, CoapConfig.MatcherMode.STRICT);
    config.set(UdpConfig.UDP_RECEIVE_BUFFER_SIZE, 4 << 20);
    config.set(UdpConfig.UDP_SEND_BUFFER_SIZE, 4 << 20);
    CoapServer server = new CoapServer(config);
    InetSocketAddress address = new InetSocketAddress("127.0.0.1", Integer.parseInt(arguments[1]));
    CoapEndpoint.Builder endpoint = CoapEndpoint.builder().setConfiguration(config);
    if (arguments[0].equals("secure")) {
      endpoint.setConnector(secured(config, address, arguments[3]));
    } else {
      endpoint.setInetSocketAddress(address);
    }
    server.addEndpoint(endpoint.build());
    if (arguments[0].equals("proxy")) {
      server.setMessageDeliverer(new Forwarding(server.getRoot(), config));
    } else {
      server.add(new Blob(Files.readAllBytes(Path.of(arguments[2]))));
    }
    server.start();
    System.out.println("ready");
  }

  private static DTLSConnector secured(Configuration config, InetSocketAddress address, String key) {
    config.set(DtlsConfig.DTLS_ROLE, DtlsConfig.DtlsRole.SERVER_ONLY);
    config.setAsList(DtlsConfig.DTLS_CIPHER_SUITES, CipherSuite.TLS_PSK_WITH_AES_128_CCM_8);
    config.set(DtlsConfig.DTLS_RECOMMENDED_CIPHER_SUITES_ONLY, false);
    AdvancedMultiPskStore keys = new AdvancedMultiPskStore();
    for (int number = 0; number < SESSIONS; number++) {
      keys.setKey("bench-" + number, key.getBytes());
    }
    return new DTLSConnector(
        DtlsConnectorConfig.builder(config).setAddress(address).setAdvancedPskStore(keys).build());
  }

  /** A body with its ETag. */
  static final class Blob extends CoapResource {
    private final byte[] body;
    private final byte[] tag;

    Blob(byte[] body) throws Exception {
      super("blob");
      this.body = body;
      tag = Arrays.copyOf(java.security.MessageDigest.getInstance("SHA-256").digest(body), 8);
    }

    @Override
    public void handleGET(CoapExchange exchange) {
      Response response = new Response(ResponseCode.CONTENT);
      response.setPayload(body);
      response.getOptions().addETag(tag).setContentFormat(MediaTypeRegistry.APPLICATION_OCTET_STREAM);
      exchange.respond(response);
    }
  }

  /** Every request that names a Proxy-Uri goes to one resource. */
  static final class Forwarding extends ServerMessageDeliverer {
    private final Resource proxy = new Proxy();

    Forwarding(Resource root, Configuration config) {
      super(root, config);
    }

    @Override
    protected Resource findResource(Exchange exchange) throws DelivererException {
      return exchange.getRequest().getOptions().hasProxyUri() ? proxy : super.findResource(exchange);
    }
  }

  /** Asks over HTTP and gives the answer back, with the headers that CoAP has an option for. */
  static final class Proxy extends CoapResource {
    private final CloseableHttpAsyncClient client = HttpAsyncClients.custom()
        .setConnectionManager(PoolingAsyncClientConnectionManagerBuilder.create()
            .setMaxConnTotal(CONNECTIONS).setMaxConnPerRoute(CONNECTIONS)
            .setDefaultConnectionConfig(ConnectionConfig.custom().setConnectTimeout(10, TimeUnit.SECONDS)
                .setSocketTimeout(10, TimeUnit.SECONDS).build()).build())
        .disableRedirectHandling().build();

    Proxy() {
      super("proxy");
      client.start();
    }

    @Override
    public void handleGET(CoapExchange exchange) {
      SimpleHttpRequest request = SimpleRequestBuilder.get(exchange.getRequestOptions().getProxyUri()).build();
      client.execute(request, new FutureCallback<SimpleHttpResponse>() {
        @Override
        public void completed(SimpleHttpResponse answer) {
          exchange.respond(translated(answer));
        }

        @Override
        public void failed(Exception error) {
          exchange.respond(ResponseCode.BAD_GATEWAY);
        }

        @Override
        public void cancelled() {
          exchange.respond(ResponseCode.GATEWAY_TIMEOUT);
        }
      });
    }

    private static Response translated(SimpleHttpResponse answer) {
      Response response = new Response(answer.getCode() == 200 ? ResponseCode.CONTENT : ResponseCode.BAD_GATEWAY);
      if (answer.getBodyBytes() != null) {
        response.setPayload(answer.getBodyBytes());
      }
      int format = answer.getContentType() == null ? MediaTypeRegistry.UNDEFINED
          : MediaTypeRegistry.parse(answer.getContentType().getMimeType());
      if (format != MediaTypeRegistry.UNDEFINED) {
        response.getOptions().setContentFormat(format);
      }
      Header control = answer.getFirstHeader("Cache-Control");
      if (control != null && control.getValue().contains("no-store")) {
        response.getOptions().setMaxAge(0);
      }
      return response;
    }
  }

  private Peers() {}
}

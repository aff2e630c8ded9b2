// One request by Eclipse Californium's client, the body of the answer into a file. Nothing of Updraft is in it.
//
//   java Fetch FILE METHOD URI [direct | proxy-uri HOST PORT | proxy-scheme HOST PORT] [BODY]
//
// Writes the response code to standard output, and the diagnostic payload of a refusal behind it.

import java.net.URI;
import java.nio.file.Files;
import java.nio.file.Path;
import org.eclipse.californium.core.CoapClient;
import org.eclipse.californium.core.CoapResponse;
import org.eclipse.californium.core.coap.CoAP;
import org.eclipse.californium.core.coap.Request;
import org.eclipse.californium.core.config.CoapConfig;
import org.eclipse.californium.core.network.CoapEndpoint;
import org.eclipse.californium.elements.AddressEndpointContext;
import org.eclipse.californium.elements.config.Configuration;
import org.eclipse.californium.elements.config.UdpConfig;

public final class Fetch {
  private static final long TIMEOUT_MILLISECONDS = 25_000;
  private static final int BLOCK_BYTES = 512;
  private static final int BODY_BYTES = 8 << 20;

  public static void main(String[] arguments) throws Exception {
    CoapConfig.register();
    UdpConfig.register();
    Configuration configuration = Configuration.createStandardWithoutFile();
    configuration.set(CoapConfig.MAX_RESOURCE_BODY_SIZE, BODY_BYTES);
    configuration.set(CoapConfig.PREFERRED_BLOCK_SIZE, BLOCK_BYTES);
    configuration.set(CoapConfig.MAX_MESSAGE_SIZE, BLOCK_BYTES);

    Request request = new Request(CoAP.Code.valueOf(arguments[1]));
    String uri = arguments[2];
    String way = arguments[3];
    int used = 4;
    if (way.equals("direct")) {
      request.setURI(uri);
    } else {
      request.setDestinationContext(new AddressEndpointContext(arguments[4], Integer.parseInt(arguments[5])));
      used = 6;
      if (way.equals("proxy-uri")) {
        request.setProxyUri(uri);
      } else {
        URI target = new URI(uri);
        request.setURI("coap://" + target.getRawAuthority() + target.getRawPath());
        request.setProxyScheme(target.getScheme());
        // Left to itself it sends no Uri-Host that is an address; that would be the proxy's own (RFC 7252 section 5.10.1).
        request.getOptions().setUriHost(target.getHost());
      }
    }
    if (arguments.length > used) {
      request.setPayload(Files.readAllBytes(Path.of(arguments[used])));
      request.getOptions().setContentFormat(42);
    }

    CoapClient client = new CoapClient();
    client.setEndpoint(CoapEndpoint.builder().setConfiguration(configuration).build());
    client.setTimeout(TIMEOUT_MILLISECONDS);
    CoapResponse answer = client.advanced(request);
    if (answer == null) {
      System.out.println("no answer");
      System.exit(1);
    }
    System.out.println(answer.getCode() + " " + (answer.isSuccess() ? "" : answer.getResponseText()));
    if (answer.isSuccess()) {
      Files.write(Path.of(arguments[0]), answer.getPayload() == null ? new byte[0] : answer.getPayload());
    }
    System.exit(0);
  }
}

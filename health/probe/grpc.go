package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"net"
	"net/http"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// grpc calls grpc.health.v1.Health/Check and wants SERVING. The call is one HTTP/2 request
// with one message (gRPC's PROTOCOL-HTTP2.md, health.proto), so net/http is enough.
type grpc struct {
	to      target
	tls     secrecy
	request *http.Request
	message []byte
}

func newGRPC(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to, "h2")
	if err != nil {
		return nil, err
	}
	scheme := "http"
	if s.mode != conf.TLSOff {
		scheme = "https"
	}
	req, err := http.NewRequest(http.MethodPost, scheme+"://"+anyHost+"/grpc.health.v1.Health/Check", nil)
	if err != nil {
		return nil, err
	}
	if req.Host = p.Host; req.Host == "" {
		req.Host = to.String()
	}
	req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}, "User-Agent": {"dirigo"}}
	// HealthCheckRequest: string service = 1.
	var m []byte
	if p.Path != "" {
		m = protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), p.Path)
	}
	return grpc{to, s, req, append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(m))), m...)}, nil
}

func (a grpc) ask(ctx context.Context, r *health.Result) error {
	c, err := a.to.connect(ctx, "tcp")
	if err != nil {
		return err
	}
	defer c.Close()
	c.abort = true
	if a.tls.mode == conf.TLSOff {
		return c.cause(ctx, a.call(ctx, c, "http"))
	}
	t, err := a.tls.handshake(ctx, c, r)
	if err != nil {
		return err
	}
	if t.ConnectionState().NegotiatedProtocol != "h2" {
		return fail(health.WhyProtocol, "the server does not offer HTTP/2")
	}
	return c.cause(ctx, a.call(ctx, t, "https"))
}

// Statuses: https://grpc.io/docs/guides/status-codes, health.proto.
const (
	grpcOK       = "0"
	grpcNotFound = "5" // the health service does not know the service
	grpcServing  = 1
)

func (a grpc) call(ctx context.Context, c net.Conn, scheme string) error {
	req := a.request.WithContext(ctx)
	req.Body, req.ContentLength = io.NopCloser(bytes.NewReader(a.message)), int64(len(a.message))
	answer, end, err := roundTrip2(ctx, c, req, scheme)
	if err != nil {
		return err
	}
	defer end()
	if answer.StatusCode != http.StatusOK {
		return fail(health.WhyStatus, "HTTP status %d", answer.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer))
	if err != nil {
		return err
	}
	status, text := answer.Trailer.Get("Grpc-Status"), answer.Trailer.Get("Grpc-Message")
	if status == "" { // an answer without a message has it in the header
		status, text = answer.Header.Get("Grpc-Status"), answer.Header.Get("Grpc-Message")
	}
	switch status {
	case grpcOK:
		return judgeHealth(body)
	case "":
		return fail(health.WhyProtocol, "not gRPC: no grpc-status")
	case grpcNotFound:
		return fail(health.WhyStatus, "the server does not know the service")
	}
	return fail(health.WhyStatus, "gRPC status %s: %s", quote(status), quote(text))
}

// judgeHealth reads HealthCheckResponse: enum ServingStatus status = 1.
func judgeHealth(b []byte) error {
	if len(b) < 5 || b[0] != 0 || uint64(binary.BigEndian.Uint32(b[1:])) != uint64(len(b)-5) {
		return fail(health.WhyProtocol, "not a gRPC message: %s", quote(b))
	}
	var status uint64
	for m := b[5:]; len(m) > 0; {
		number, kind, n := protowire.ConsumeTag(m)
		if n < 0 {
			return fail(health.WhyProtocol, "not a health message: %s", quote(b))
		}
		m = m[n:]
		if number == 1 && kind == protowire.VarintType {
			status, n = protowire.ConsumeVarint(m)
		} else {
			n = protowire.ConsumeFieldValue(number, kind, m)
		}
		if n < 0 {
			return fail(health.WhyProtocol, "not a health message: %s", quote(b))
		}
		m = m[n:]
	}
	if status != grpcServing {
		names := []string{"UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"}
		return fail(health.WhyStatus, "health status %s", names[min(status, uint64(len(names)-1))])
	}
	return nil
}

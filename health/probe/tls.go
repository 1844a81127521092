package probe

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// secrecy is how a probe encrypts; the zero value: not at all.
type secrecy struct {
	mode conf.TLSMode
	conf *tls.Config // nil if off
	warn time.Duration
}

// newSecrecy reads the certificates that a probe names.
func newSecrecy(p *conf.Probe, mode conf.TLSMode, to target, alpn ...string) (secrecy, error) {
	if mode == conf.TLSOff {
		return secrecy{}, nil
	}
	c := &tls.Config{
		ServerName: p.TLS.Name, NextProtos: alpn, InsecureSkipVerify: !p.TLS.Verify,
		MinVersion: tls.VersionTLS10, // whether a server is up, not whether it is modern
	}
	if c.ServerName == "" {
		c.ServerName = to.addr.WithZone("").String() // sent as no SNI: RFC 6066 section 3
		host, _, err := net.SplitHostPort(p.Host)
		if err != nil {
			host = p.Host
		}
		if _, err := netip.ParseAddr(host); err != nil && host != "" {
			c.ServerName = host
		}
	}
	if p.TLS.CA != "" {
		pem, err := os.ReadFile(p.TLS.CA)
		if err != nil {
			return secrecy{}, fmt.Errorf("tls ca: %w", err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return secrecy{}, fmt.Errorf("tls ca: %s holds no certificate", p.TLS.CA)
		}
	}
	if p.TLS.Cert != "" {
		pair, err := tls.LoadX509KeyPair(p.TLS.Cert, p.TLS.Key)
		if err != nil {
			return secrecy{}, fmt.Errorf("tls certificate %s: %w", p.TLS.Cert, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return secrecy{mode, c, p.TLS.Warn}, nil
}

// handshake encrypts c and notes in r a certificate that ends soon.
func (s *secrecy) handshake(ctx context.Context, c *conn, r *health.Result) (*tls.Conn, error) {
	t := tls.Client(c, s.conf)
	err := t.HandshakeContext(ctx)
	if err == nil {
		s.judge(t.ConnectionState(), r)
		return t, nil
	}
	// The connection's own trouble (time, reset) is not bad TLS; the deadline of the
	// context also closes the connection under the handshake.
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if why, text := reason(ctx, err); why != health.WhyProtocol {
		return nil, fail(why, "TLS handshake: %s", text)
	}
	return nil, fail(health.WhyTLS, "TLS handshake: %v", err)
}

// judge warns of a certificate that ends within the time asked for. Without Verify one
// that has ended is warned of, too.
func (s *secrecy) judge(state tls.ConnectionState, r *health.Result) {
	if s.warn == 0 || len(state.PeerCertificates) == 0 {
		return
	}
	end := state.PeerCertificates[0].NotAfter
	switch left := time.Until(end); {
	case left <= 0:
		r.Warning = "the certificate ended at " + end.UTC().Format(time.RFC3339)
	case left < s.warn:
		r.Warning = fmt.Sprintf("the certificate ends at %s, in %d days", end.UTC().Format(time.RFC3339), int(left.Hours()/24))
	}
}

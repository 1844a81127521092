package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// httpProbe asks for one page over a connection of its own. HTTP/1 is written by hand and
// read by net/http's parser, without its client's goroutines and pools; HTTP/2 is net/http's
// own. Redirects are not followed: they are an answer like any other.
type httpProbe struct {
	to      target
	tls     secrecy
	request []byte        // HTTP/1: as it goes over the wire
	as      *http.Request // what the request was, for the parser; for HTTP/2 the request
	http2   bool          // by prior knowledge, or the only one offered
	keeps   bool          // connections that are good for another question
	asked   atomic.Uint32 // questions so far
	page
}

func newHTTP(p *conf.Probe, to target) (asker, error) {
	a := &httpProbe{to: to, http2: p.HTTP == "2", keeps: p.Connection == "kept"}
	mode, scheme, alpn := conf.TLSOff, "http", []string{"h2", "http/1.1"}
	if p.Type == conf.ProbeHTTPS {
		mode, scheme = conf.TLSOn, "https"
	}
	switch p.HTTP {
	case "":
	case "1.0", "1.1":
		alpn = alpn[1:]
	case "2":
		alpn = alpn[:1]
	default:
		return nil, fmt.Errorf("http %q: want 1.0, 1.1 or 2", p.HTTP)
	}
	var err error
	if a.tls, err = newSecrecy(p, mode, to, alpn...); err != nil {
		return nil, err
	}
	if a.page, err = newPage(p); err != nil {
		return nil, err
	}
	method, path, host, version := p.Method, p.Path, p.Host, p.HTTP
	if method == "" {
		method = http.MethodGet
	}
	if path == "" {
		path = "/"
	}
	if host == "" {
		host = to.String() // with the port, as keepalived
	}
	if version == "" || version == "2" {
		version = "1.1"
	}
	if strings.ContainsAny(method+path, " \r\n\x00") || strings.ContainsAny(host, "\r\n\x00") {
		return nil, fmt.Errorf("method, path or host: holds a space or the end of a line")
	}
	end := "Connection: close\r\n"
	if a.keeps {
		end = ""
	}
	a.request = fmt.Appendf(nil, "%s %s HTTP/%s\r\nHost: %s\r\nUser-Agent: dirigo\r\nAccept: */*\r\n%s\r\n",
		method, path, version, host, end)
	if a.as, err = http.NewRequest(method, scheme+"://"+anyHost, nil); err != nil {
		return nil, err
	}
	a.as.Host, a.as.URL.Opaque = host, path
	a.as.Header.Set("User-Agent", "dirigo")
	return a, nil
}

func (a *httpProbe) ask(ctx context.Context, r *health.Result) error {
	if s := a.to.sockets(); s != nil && a.tls.mode == conf.TLSOff && !a.http2 {
		return a.askPlain(ctx, s)
	}
	c, err := a.to.connect(ctx, "tcp")
	if err != nil {
		return err
	}
	defer c.Close()
	c.abort = true // the answer is read, or not wanted any more
	return c.cause(ctx, a.over(ctx, c, r))
}

// askPlain asks over a connection that is kept, or a socket that has asked before.
func (a *httpProbe) askPlain(ctx context.Context, s *Sockets) error {
	to, err := a.to.endpoint("tcp")
	if err != nil {
		return err
	}
	if a.keeps && a.asked.Add(1)%freshEach != 0 {
		if c := s.again(ctx, a); c != nil {
			// A server may end a connection whenever it likes, and then has not been asked
			// (RFC 9110 section 9.2.2, RFC 9112 section 9.3.1).
			if heard, err := a.askOver(ctx, c); heard || ctx.Err() != nil {
				return err
			}
		}
	}
	c, err := s.connect(ctx, to)
	if err != nil {
		return err
	}
	_, err = a.askOver(ctx, c)
	return err
}

// askOver asks over c, which it keeps or ends. heard says that something came back.
func (a *httpProbe) askOver(ctx context.Context, c *socket) (heard bool, err error) {
	b := bounded{rw: c, left: maxRead}
	again, err := a.ask1(&b)
	if a.keeps && again {
		c.keep(a)
	} else {
		c.end()
	}
	return b.left < maxRead, b.cause(ctx, err)
}

// over asks by the version that was configured or negotiated.
func (a *httpProbe) over(ctx context.Context, c *conn, r *health.Result) error {
	if a.tls.mode == conf.TLSOff {
		if a.http2 {
			return a.ask2(ctx, c, "http")
		}
		_, err := a.ask1(c)
		return err
	}
	t, err := a.tls.handshake(ctx, c, r)
	if err != nil {
		return err
	}
	switch p := t.ConnectionState().NegotiatedProtocol; {
	case p == "h2":
		return a.ask2(ctx, t, "https")
	case a.http2:
		return fail(health.WhyProtocol, "the server does not offer HTTP/2")
	}
	_, err = a.ask1(t)
	return err
}

// anyHost stands in URLs, which net/http wants; the Dialer and the Host header decide.
const anyHost = "target:1"

// maxInterim bounds the 1xx responses before the answer (RFC 9110 section 15.2).
const maxInterim = 5

// readers are what answers are read with: thousands a second would leave much to collect.
var readers = sync.Pool{New: func() any { return bufio.NewReader(nil) }}

// ask1 asks by HTTP/1. again says that the answer was good and the connection is as before it.
func (a *httpProbe) ask1(c io.ReadWriter) (again bool, err error) {
	if _, err := c.Write(a.request); err != nil {
		return false, err
	}
	r := readers.Get().(*bufio.Reader)
	r.Reset(c)
	defer func() {
		r.Reset(nil)
		readers.Put(r)
	}()
	for range maxInterim {
		answer, err := http.ReadResponse(r, a.as)
		if err != nil {
			return false, err
		}
		if answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			if err := a.judge(answer); err != nil {
				return false, err
			}
			n, err := answer.Body.Read(make([]byte, 1))
			return n == 0 && err == io.EOF && !answer.Close && answer.StatusCode >= 200 && r.Buffered() == 0, nil
		}
	}
	return false, fail(health.WhyProtocol, "more than %d interim responses", maxInterim)
}

// ask2 speaks HTTP/2 over a connection that is already made, by net/http.
func (a *httpProbe) ask2(ctx context.Context, c net.Conn, scheme string) error {
	answer, end, err := roundTrip2(ctx, c, a.as.WithContext(ctx), scheme)
	if err != nil {
		return err
	}
	defer end()
	return a.judge(answer)
}

// roundTrip2 sends one request by HTTP/2 over c. After a nil error the caller reads the
// body, then calls end; c stays the caller's.
func roundTrip2(ctx context.Context, c net.Conn, req *http.Request, scheme string) (*http.Response, func(), error) {
	var t http.Transport
	t.Protocols = new(http.Protocols)
	t.Protocols.SetHTTP2(true)
	t.Protocols.SetUnencryptedHTTP2(true)
	t.DisableCompression = true
	dial := func(context.Context, string, string) (net.Conn, error) { return c, nil }
	t.DialContext, t.DialTLSContext = dial, dial
	cc, err := t.NewClientConn(ctx, scheme, req.URL.Host)
	if err != nil {
		return nil, nil, err
	}
	answer, err := cc.RoundTrip(req)
	if err != nil {
		cc.Close()
		return nil, nil, err
	}
	return answer, func() { answer.Body.Close(); cc.Close() }, nil
}

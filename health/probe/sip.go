package probe

import (
	"bufio"
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// sip sends OPTIONS (RFC 3261 section 11) and wants 200, by UDP or by TCP, and encrypted
// by TLS.
type sip struct {
	to  target
	tls secrecy
	tcp bool
	uri string // asked: "sip:user@host"
}

func newSIP(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	if err != nil {
		return nil, err
	}
	a := sip{to, s, p.Transport == "tcp" || p.TLS.Mode != conf.TLSOff, p.Name}
	switch {
	case a.uri == "":
		a.uri = "sip:" + to.String()
	case !strings.HasPrefix(a.uri, "sip:") && !strings.HasPrefix(a.uri, "sips:"):
		a.uri = "sip:" + a.uri
	}
	if strings.ContainsAny(p.Name, " \r\n\x00<>") {
		return nil, fmt.Errorf("name %q: not a SIP address", p.Name)
	}
	return a, nil
}

func (a sip) ask(ctx context.Context, r *health.Result) error {
	tag := rand.Text()
	if a.tcp {
		k, err := a.to.open(ctx, &a.tls, r)
		if err != nil {
			return err
		}
		defer k.Close()
		transport := "TCP"
		if a.tls.mode != conf.TLSOff {
			transport = "TLS"
		}
		if _, err := k.Conn.Write(a.request(transport, k.LocalAddr().String(), tag)); err != nil {
			return err
		}
		for {
			if done, err := judgeSIP(k.Reader, tag); done || err != nil {
				return k.conn.cause(ctx, err)
			}
		}
	}
	c, err := a.to.connect(ctx, "udp")
	if err != nil {
		return err
	}
	defer c.Close()
	return c.datagrams(a.request("UDP", c.LocalAddr().String(), tag), func(b []byte) (bool, error) {
		done, err := judgeSIP(bufio.NewReader(bytes.NewReader(b)), tag)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = fail(health.WhyProtocol, "not a whole SIP message: %s", quote(b))
		}
		return done, err
	})
}

// request writes the message. The branch begins with RFC 3261's magic cookie (section
// 8.1.1.7); rport has a server behind NAT answer to where the request came from (RFC 3581).
func (a sip) request(transport, local, tag string) []byte {
	return fmt.Appendf(nil, "OPTIONS %[1]s SIP/2.0\r\nVia: SIP/2.0/%[2]s %[3]s;branch=z9hG4bK%[4]s;rport\r\n"+
		"Max-Forwards: 70\r\nFrom: <sip:dirigo@%[3]s>;tag=%[4]s\r\nTo: <%[1]s>\r\nCall-ID: %[4]s\r\nCSeq: 1 OPTIONS\r\n"+
		"Contact: <sip:dirigo@%[3]s>\r\nUser-Agent: dirigo\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n",
		a.uri, transport, local, tag)
}

// judgeSIP reads one message: not done after a provisional response, or the answer to an
// older question.
func judgeSIP(r *bufio.Reader, tag string) (done bool, err error) {
	k := talk{Reader: r}
	line, err := k.line()
	if err != nil {
		return false, err
	}
	version, rest, _ := strings.Cut(line, " ")
	word, _, _ := strings.Cut(rest, " ")
	code, err := strconv.Atoi(word)
	if version != "SIP/2.0" || err != nil || code < 100 || code > 699 {
		return false, fail(health.WhyProtocol, "not a SIP response: %s", quote(line))
	}
	h, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		return false, err
	}
	if n, _ := strconv.Atoi(h.Get("Content-Length")); n > 0 {
		if _, err := r.Discard(min(n, maxAnswer)); err != nil {
			return false, err
		}
	}
	id := h.Get("Call-Id")
	if id == "" {
		id = h.Get("I") // the compact form: section 7.3.3
	}
	switch {
	case id != tag, code < 200:
		return false, nil
	case code != 200:
		return false, fail(health.WhyStatus, "%s", quote(line))
	}
	return true, nil
}

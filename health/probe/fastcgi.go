package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net/textproto"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// fastCGI asks a FastCGI application for one page: by default php-fpm's ping, whose answer
// is "pong" (FastCGI 1.0 sections 3 and 6).
type fastCGI struct {
	to      target
	request []byte
	page
}

// Record types and the like: FastCGI specification 1.0, section 8.
const (
	fcgiVersion      = 1
	fcgiBeginRequest = 1
	fcgiEndRequest   = 3
	fcgiParams       = 4
	fcgiStdin        = 5
	fcgiStdout       = 6
	fcgiStderr       = 7
	fcgiResponder    = 1
	fcgiHeader       = 8 // version, type, request id, content length, padding length, reserved
)

func newFastCGI(p *conf.Probe, to target) (asker, error) {
	q := *p
	if q.Path == "" {
		q.Path = "/ping"
		if q.Body == "" {
			q.Body = "^pong$" // ping.response
		}
	}
	g, err := newPage(&q)
	if err != nil {
		return nil, err
	}
	script, query, _ := strings.Cut(q.Path, "?")
	var params []byte
	for _, v := range [][2]string{
		{"GATEWAY_INTERFACE", "CGI/1.1"}, {"SERVER_SOFTWARE", "dirigo"}, {"SERVER_PROTOCOL", "HTTP/1.1"},
		{"REQUEST_METHOD", "GET"}, {"SCRIPT_NAME", script}, {"SCRIPT_FILENAME", script}, {"QUERY_STRING", query},
		{"REQUEST_URI", q.Path}, {"SERVER_NAME", to.addr.String()}, {"SERVER_PORT", fmt.Sprint(to.port)},
		{"REMOTE_ADDR", to.addr.String()},
	} {
		params = append(fcgiLength(fcgiLength(params, len(v[0])), len(v[1])), v[0]+v[1]...)
	}
	if len(params) > 65535 {
		return nil, fmt.Errorf("path: longer than a FastCGI record")
	}
	b := fcgiRecord(nil, fcgiBeginRequest, []byte{0, fcgiResponder, 0, 0, 0, 0, 0, 0}) // no FCGI_KEEP_CONN
	b = fcgiRecord(b, fcgiParams, params)
	b = fcgiRecord(b, fcgiParams, nil)
	return fastCGI{to, fcgiRecord(b, fcgiStdin, nil), g}, nil
}

func fcgiRecord(b []byte, kind byte, content []byte) []byte {
	b = append(b, fcgiVersion, kind, 0, 1, byte(len(content)>>8), byte(len(content)), 0, 0)
	return append(b, content...)
}

// fcgiLength writes the length of a name or value: section 3.4.
func fcgiLength(b []byte, n int) []byte {
	if n < 128 {
		return append(b, byte(n))
	}
	return binary.BigEndian.AppendUint32(b, uint32(n)|1<<31)
}

func (a fastCGI) ask(ctx context.Context, r *health.Result) error {
	k, err := a.to.open(ctx, &secrecy{}, r)
	if err != nil {
		return err
	}
	defer k.Close()
	if _, err := k.Conn.Write(a.request); err != nil {
		return err
	}
	out, err := k.fcgiOutput()
	if err != nil {
		return err
	}
	code, body, err := cgiResponse(out)
	if err != nil {
		return err
	}
	if err := a.judgeStatus(code); err != nil {
		return err
	}
	return a.judgeBody(body, false)
}

// fcgiOutput reads records to the end of the request and returns what was written to
// standard output.
func (k *talk) fcgiOutput() ([]byte, error) {
	var out []byte
	for {
		h, err := k.frame(fcgiHeader)
		if err != nil {
			return nil, err
		}
		kind := h[1]
		if h[0] != fcgiVersion || kind != fcgiEndRequest && kind != fcgiStdout && kind != fcgiStderr {
			return nil, fail(health.WhyProtocol, "not a FastCGI record: %s", quote(h))
		}
		length := int(binary.BigEndian.Uint16(h[4:]))
		b, err := k.frame(length + int(h[6]))
		if err != nil {
			return nil, err
		}
		b = b[:length]
		switch kind {
		case fcgiStdout:
			out = append(out, b...)
		case fcgiEndRequest: // section 5.5: application status, protocol status
			if length < 8 {
				return nil, fail(health.WhyProtocol, "an end of request of %d bytes", length)
			}
			if b[4] != 0 {
				return nil, fail(health.WhyStatus, "FastCGI protocol status %d", b[4])
			}
			return out, nil
		}
	}
}

// cgiResponse takes the header off what a CGI program wrote (RFC 3875 section 6).
func cgiResponse(out []byte) (code int, body []byte, err error) {
	in := bytes.NewReader(out)
	r := bufio.NewReader(in)
	h, err := textproto.NewReader(r).ReadMIMEHeader()
	if err != nil {
		return 0, nil, fail(health.WhyProtocol, "not a CGI response: %s", quote(out))
	}
	code = 200
	if s := h.Get("Status"); s != "" {
		word, _, _ := strings.Cut(s, " ")
		if code, err = strconv.Atoi(word); err != nil {
			return 0, nil, fail(health.WhyProtocol, "not a CGI status: %s", quote(s))
		}
	}
	body, err = io.ReadAll(r)
	return code, body, err
}

package probe

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// What cannot be asked is an error of the configuration that names its key.
func TestNewRefuses(t *testing.T) {
	for _, c := range []struct {
		probe conf.Probe
		says  string
	}{
		{conf.Probe{Type: "gopher"}, "no such type"},
		{conf.Probe{Type: conf.ProbeTCP, Expect: "("}, "expect"},
		{conf.Probe{Type: conf.ProbeUDP, Expect: "("}, "expect"},
		{conf.Probe{Type: conf.ProbeHTTP, Body: "("}, "body"},
		{conf.Probe{Type: conf.ProbeHTTP, Status: "2xx"}, "status"},
		{conf.Probe{Type: conf.ProbeHTTP, Status: "299-200"}, "status"},
		{conf.Probe{Type: conf.ProbeHTTP, Status: "200,"}, "status"},
		{conf.Probe{Type: conf.ProbeHTTP, Status: "99"}, "status"},
		{conf.Probe{Type: conf.ProbeHTTP, Digest: "abcd"}, "digest"},
		{conf.Probe{Type: conf.ProbeHTTP, Digest: "x"}, "digest"},
		{conf.Probe{Type: conf.ProbeHTTP, HTTP: "3"}, "http"},
		{conf.Probe{Type: conf.ProbeHTTP, Path: "/a b"}, "path"},
		{conf.Probe{Type: conf.ProbeHTTP, Host: "a\r\nX: y"}, "host"},
		{conf.Probe{Type: conf.ProbeDNS, Record: "AAAAA"}, "record"},
		{conf.Probe{Type: conf.ProbeDNS, Record: "TYPE65536"}, "record"},
		{conf.Probe{Type: conf.ProbeDNS, Name: strings.Repeat("a", 64)}, "name"},
		{conf.Probe{Type: conf.ProbeDNS, Name: "a..b"}, "name"},
		{conf.Probe{Type: conf.ProbeDNS, Answer: "("}, "answer"},
		{conf.Probe{Type: conf.ProbeLDAP, Answer: "("}, "answer"},
		{conf.Probe{Type: conf.ProbeSMTP, Host: "a\r\nQUIT"}, "host"},
		{conf.Probe{Type: conf.ProbeFTP, User: "a\nDELE x"}, "user"},
		{conf.Probe{Type: conf.ProbePOP, Password: "a\rb"}, "password"},
		{conf.Probe{Type: conf.ProbeIMAP, Password: "a\x00b"}, "password"},
		{conf.Probe{Type: conf.ProbePgSQL, User: "a\x00b"}, "user"},
		{conf.Probe{Type: conf.ProbeMySQL, Database: "a\x00b"}, "database"},
		{conf.Probe{Type: conf.ProbeMySQL, Password: strings.Repeat("x", 201)}, "password"},
		{conf.Probe{Type: conf.ProbeRADIUS}, "secret"},
		{conf.Probe{Type: conf.ProbeRADIUS, Secret: "s", Password: strings.Repeat("x", 129)}, "password"},
		{conf.Probe{Type: conf.ProbeSIP, Name: "a b"}, "name"},
		{conf.Probe{Type: conf.ProbeRedis, TLS: conf.TLS{Mode: conf.TLSStartTLS}}, "STARTTLS"},
		{conf.Probe{Type: conf.ProbeSIP, Transport: "sctp"}, "transport"},
		{conf.Probe{Type: conf.ProbeScript}, "command"},
		{conf.Probe{Type: conf.ProbeExternal}, "command"},
		{conf.Probe{Type: conf.ProbeFastCGI, Path: strings.Repeat("x", 1<<16)}, "path"},
	} {
		_, err := New(c.probe, health.Target{}, Plain{})
		if err == nil || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), string(c.probe.Type)) {
			t.Errorf("%+v: error %v does not say %q", c.probe, err, c.says)
		}
	}
}

// Every type the file can name has a prober, and a port where its protocol has one.
func TestNewKnowsEveryType(t *testing.T) {
	for _, p := range []conf.Probe{
		{Type: conf.ProbeNone}, {Type: conf.ProbePing}, {Type: conf.ProbeTCP}, {Type: conf.ProbeUDP}, {Type: conf.ProbeHTTP}, {Type: conf.ProbeHTTPS},
		{Type: conf.ProbeDNS}, {Type: conf.ProbeSMTP}, {Type: conf.ProbeIMAP}, {Type: conf.ProbePOP}, {Type: conf.ProbeFTP}, {Type: conf.ProbeLDAP},
		{Type: conf.ProbeMySQL}, {Type: conf.ProbePgSQL}, {Type: conf.ProbeRedis}, {Type: conf.ProbeRADIUS, Secret: "s"}, {Type: conf.ProbeSIP},
		{Type: conf.ProbeFastCGI}, {Type: conf.ProbeGRPC}, {Type: conf.ProbeScript, Command: "x"}, {Type: conf.ProbeExternal, Command: "x"},
		{Type: conf.ProbeFile, Path: "x"},
	} {
		if _, err := New(p, health.Target{}, Plain{}); err != nil {
			t.Error(err)
		}
	}
}

// loud is a probe that fails with a text.
type loud struct{ text string }

func (l loud) ask(context.Context, *health.Result) error { return errors.New(l.text) }

// What a server's name or a library says is short and printable in a result.
func TestResultsArePlain(t *testing.T) {
	r := once(t, prober{loud{"x509: \x1b[2J" + strings.Repeat("a\n", 10000)}}, enough)
	if !strings.HasPrefix(r.Text, "x509: ?[2Ja?a?") || len(r.Text) > 500 {
		t.Errorf("a text of %d bytes: %.50q", len(r.Text), r.Text)
	}
}

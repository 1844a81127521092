package probe

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// A protocol over TCP, and how a server of it begins an answer that it never ends.
type tcpProtocol struct {
	name    string
	probe   conf.Probe
	begin   string // the beginning of a good answer
	endless string // begin of one that is followed by `again` for ever
	again   string
	garbage health.Why // what bytes that are not the protocol are; "": protocol
	long    health.Why // what the endless answer is; "": too_long
}

var tcpProtocols = []tcpProtocol{
	{name: "tcp", probe: conf.Probe{Type: conf.ProbeTCP, Expect: "hello"}, begin: "hell", again: "x", garbage: health.WhyContent},
	{name: "http", probe: conf.Probe{Type: conf.ProbeHTTP, Body: "hello"}, begin: "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",
		endless: "HTTP/1.1 200 OK\r\n\r\n", again: "x"},
	{name: "http header", probe: conf.Probe{Type: conf.ProbeHTTP}, begin: "HTTP/1.1 200 OK\r\nContent-Le",
		endless: "HTTP/1.1 200 OK\r\n", again: "Again: and again\r\n"},
	{name: "http chunks", probe: conf.Probe{Type: conf.ProbeHTTP, Digest: strings.Repeat("0", 64)}, begin: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n",
		endless: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", again: "1\r\nx\r\n"},
	{name: "http 1xx", probe: conf.Probe{Type: conf.ProbeHTTP, HTTP: "1.1"}, begin: "HTTP/1.1 103 Early Hints\r\n\r\n",
		again: "HTTP/1.1 103 Early Hints\r\n\r\n", long: health.WhyProtocol},
	// SETTINGS, then PINGs: RFC 9113 sections 6.5 and 6.7.
	{name: "http/2", probe: conf.Probe{Type: conf.ProbeHTTP, HTTP: "2"}, begin: "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00",
		endless: "\x00\x00\x00\x04\x00\x00\x00\x00\x00", again: "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"},
	{name: "grpc", probe: conf.Probe{Type: conf.ProbeGRPC}, begin: "\x00\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00",
		endless: "\x00\x00\x00\x04\x00\x00\x00\x00\x00", again: "\x00\x00\x08\x06\x00\x00\x00\x00\x0012345678"},
	{name: "smtp", probe: conf.Probe{Type: conf.ProbeSMTP}, begin: "220-mx ESMTP\r\n220-mo", again: "220-x\r\n"},
	{name: "smtp line", probe: conf.Probe{Type: conf.ProbeSMTP}, begin: "220", again: "2"},
	{name: "imap", probe: conf.Probe{Type: conf.ProbeIMAP}, begin: "* OK IMAP4re", endless: "* OK\r\n", again: "* OK still here\r\n"},
	{name: "pop", probe: conf.Probe{Type: conf.ProbePOP}, begin: "+OK PO", endless: "+OK", again: " x"},
	{name: "ftp", probe: conf.Probe{Type: conf.ProbeFTP, User: "u"}, begin: "220 ftp", again: "220-x\r\n"},
	{name: "redis", probe: conf.Probe{Type: conf.ProbeRedis}, begin: "+PON", again: "+"},
	{name: "ldap", probe: conf.Probe{Type: conf.ProbeLDAP}, begin: "\x30\x0c\x02\x01\x02\x61\x07", endless: "\x30\x84\x7f\xff\xff\xff", again: "x"},
	{name: "ldap entries", probe: conf.Probe{Type: conf.ProbeLDAP, Name: "dc=x"}, begin: "\x30\x0c\x02\x01\x02\x61\x07",
		endless: "\x30\x0c\x02\x01\x02\x61\x07\x0a\x01\x00\x04\x00\x04\x00", again: "\x30\x0b\x02\x01\x03\x64\x06\x04\x02dn\x30\x00"},
	{name: "mysql", probe: conf.Probe{Type: conf.ProbeMySQL, User: "u"}, begin: "\x4a\x00\x00\x00\x0a5.5.5-10.11", endless: "\xff\xff\xff\x00", again: "x"},
	{name: "pgsql", probe: conf.Probe{Type: conf.ProbePgSQL, User: "u"}, begin: "R\x00\x00\x00\x0c\x00\x00\x00\x05", endless: "R\x00\x00\x00\x08\x00\x00\x00\x00", again: "S\x00\x00\x00\x08a\x00b\x00"},
	{name: "pgsql notices", probe: conf.Probe{Type: conf.ProbePgSQL, User: "u"}, begin: "N\x00\x00\x00\x08S\x00", again: "N\x00\x00\x00\x05\x00"},
	{name: "fastcgi", probe: conf.Probe{Type: conf.ProbeFastCGI}, begin: "\x01\x06\x00\x01\x00\x10\x00\x00Status: ", again: "\x01\x06\x00\x01\x00\x08\x00\x00X: aaaa\n"},
	{name: "sip", probe: conf.Probe{Type: conf.ProbeSIP, Transport: "tcp"}, begin: "SIP/2.0 200 OK\r\nCall-", again: "SIP/2.0 100 Trying\r\nCall-ID: x\r\n\r\n"},
	{name: "dns", probe: conf.Probe{Type: conf.ProbeDNS, Transport: "tcp"}, begin: "\x00\x20\x12", again: "x", garbage: health.WhyClosed, long: health.WhyProtocol},
}

// short is the timeout of a probe that is meant to run into it.
const short = 400 * time.Millisecond

var garbage = bytes.Repeat([]byte("\xff\x00 not \xfewhat you\x80 wait for\r\n\r\n"), 100)

// A trial is one probe that has to end badly. Those that wait for their time to be over run
// all at once, whatever the number of processors; of those that read all that comes, few do.
type trial struct {
	name    string
	probe   conf.Probe
	at      netip.AddrPort
	timeout time.Duration
	want    health.Why
	by      Plain
}

func try(t *testing.T, trials []trial) {
	t.Helper()
	var all sync.WaitGroup
	work := make(chan struct{}, 2)
	for _, x := range trials {
		all.Go(func() {
			if x.want != health.WhyTimeout {
				work <- struct{}{}
				defer func() { <-work }()
			}
			if r := askBy(t, x.probe, x.at, x.timeout, x.by); r.Why != x.want {
				t.Errorf("%s: got %q: %s (after %v); want %q", x.name, r.Why, r.Text, r.Took.Round(time.Millisecond), x.want)
			}
		})
	}
	all.Wait()
}

// What a server may do to a probe, whatever it asks: each ends within its time with its
// own reason, and leaves nothing behind.
func TestEveryTCPProtocolWithEveryBadServer(t *testing.T) {
	noLeaks(t)
	by := Plain{Sockets: newSockets(t)}
	var all []trial
	for _, p := range tcpProtocols {
		for _, s := range badServers(p) {
			all = append(all, trial{p.name + "/" + s.name, p.probe, serve(t, s.handle), s.timeout, s.want, by})
		}
		all = append(all, trial{p.name + "/nobody listens", p.probe, freePort(t), enough, health.WhyRefused, by})
	}
	try(t, all)
}

type badServer struct {
	name    string
	handle  func(net.Conn)
	timeout time.Duration
	want    health.Why
}

func badServers(p tcpProtocol) []badServer {
	bad, long := p.garbage, p.long
	if bad == "" {
		bad = health.WhyProtocol
	}
	if long == "" {
		long = health.WhyTooLong
	}
	return []badServer{
		{"says nothing", held, short, health.WhyTimeout},
		{"closes at once", func(net.Conn) {}, enough, health.WhyClosed},
		{"resets at once", reset, enough, health.WhyClosed},
		{"drips", func(c net.Conn) { drip(c, p.begin) }, short, health.WhyTimeout},
		{"drips its first byte", func(c net.Conn) { drip(c, p.begin[:1]) }, short, health.WhyTimeout},
		{"resets in the middle", func(c net.Conn) { io.WriteString(c, p.begin); reset(c) }, enough, health.WhyClosed},
		{"talks garbage", func(c net.Conn) {
			c.Write(garbage)
			c.(interface{ CloseWrite() error }).CloseWrite()
			held(c)
		}, enough, bad},
		{"has no end", func(c net.Conn) { flood(c, p.endless, p.again) }, enough, long},
	}
}

func reset(c net.Conn) { c.(interface{ SetLinger(int) error }).SetLinger(0) }

// drip is a server that has sent the beginning and then sends one byte a second.
func drip(c net.Conn, begin string) {
	io.WriteString(c, begin)
	for {
		c.SetReadDeadline(time.Now().Add(time.Second))
		if held(c); !alive(c) {
			return
		}
		if _, err := io.WriteString(c, " "); err != nil {
			return
		}
	}
}

// alive says whether the other side is still there after held ran out of time.
func alive(c net.Conn) bool {
	c.SetReadDeadline(time.Now().Add(time.Millisecond))
	_, err := c.Read(make([]byte, 1))
	timeout, ok := err.(net.Error)
	return err == nil || ok && timeout.Timeout()
}

// flood sends without end, reading nothing.
func flood(c net.Conn, begin, again string) {
	io.WriteString(c, begin)
	block := bytes.Repeat([]byte(again), 1+16384/len(again))
	for {
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}

// The same inside TLS, and with servers that are not TLS at all.
func TestEveryTLSProtocolWithEveryBadServer(t *testing.T) {
	noLeaks(t)
	server := &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(time.Hour))}}
	var all []trial
	for _, p := range tcpProtocols {
		switch p.probe.Type {
		case conf.ProbeHTTP:
			p.probe.Type = conf.ProbeHTTPS
		case conf.ProbeMySQL, conf.ProbePgSQL, conf.ProbeFastCGI, conf.ProbeDNS: // no TLS, or not from the first byte
			continue
		}
		p.probe.TLS.Mode = conf.TLSOn
		own := server.Clone()
		if p.name == "http/2" || p.name == "grpc" {
			own.NextProtos = []string{"h2"}
		}
		for _, s := range badServers(p) {
			if strings.Contains(s.name, "resets") {
				continue // of the connection below: in the handshake, next
			}
			at := serve(t, func(c net.Conn) {
				e := tls.Server(c, own)
				if e.Handshake() == nil {
					s.handle(e)
				}
			})
			if s.timeout == short {
				s.timeout = 2 * time.Second // a hundred handshakes at once
			}
			all = append(all, trial{p.name + "/" + s.name, p.probe, at, s.timeout, s.want, Plain{}})
		}
		for _, s := range []badServer{
			{"no handshake", held, short, health.WhyTimeout},
			{"drips a handshake", func(c net.Conn) { drip(c, "\x16\x03\x03\x00\x7a") }, short, health.WhyTimeout},
			{"closes in the handshake", func(c net.Conn) { c.Read(make([]byte, 4096)) }, enough, health.WhyClosed},
			{"resets in the handshake", func(c net.Conn) { io.WriteString(c, "\x16\x03\x03\x00\x7a"); reset(c) }, enough, health.WhyClosed},
			{"is not TLS", func(c net.Conn) { c.Write(garbage); held(c) }, enough, health.WhyTLS},
			{"refuses the handshake", func(c net.Conn) {
				c.Read(make([]byte, 4096))
				io.WriteString(c, "\x15\x03\x03\x00\x02\x02\x28") // alert: handshake_failure
			}, enough, health.WhyTLS},
		} {
			all = append(all, trial{p.name + "/" + s.name, p.probe, serve(t, s.handle), s.timeout, s.want, Plain{}})
		}
	}
	try(t, all)
}

// Over UDP silence is a timeout, and what is not an answer to this question is passed over
// or refused, as the protocol has it.
func TestEveryUDPProtocolWithEveryBadServer(t *testing.T) {
	noLeaks(t)
	var all []trial
	for _, p := range []struct {
		probe          conf.Probe
		garbage, empty health.Why
		stale          func(question []byte) []byte // an answer to another question
	}{
		{conf.Probe{Type: conf.ProbeUDP, Expect: "hello"}, health.WhyContent, health.WhyContent, nil},
		{conf.Probe{Type: conf.ProbeDNS}, health.WhyTimeout, health.WhyProtocol, otherID},
		{conf.Probe{Type: conf.ProbeRADIUS, Secret: "s", User: "u"}, health.WhyProtocol, health.WhyProtocol, otherID},
		{conf.Probe{Type: conf.ProbeSIP}, health.WhyProtocol, health.WhyProtocol, func([]byte) []byte {
			return []byte("SIP/2.0 200 OK\r\nCall-ID: another\r\n\r\n")
		}},
	} {
		add := func(name string, at netip.AddrPort, timeout time.Duration, want health.Why) {
			all = append(all, trial{string(p.probe.Type) + "/" + name, p.probe, at, timeout, want, Plain{}})
		}
		answers := func(replies ...[]byte) netip.AddrPort {
			return serveUDP(t, func(_ []byte, reply func([]byte)) {
				for _, b := range replies {
					reply(b)
				}
			})
		}
		timeout := enough
		if p.garbage == health.WhyTimeout {
			timeout = short
		}
		add("says nothing", answers(), short, health.WhyTimeout)
		add("nobody listens", freePort(t), enough, health.WhyRefused)
		add("talks garbage", answers(garbage), timeout, p.garbage)
		add("sends an empty datagram", answers(nil), enough, p.empty)
		if p.stale == nil {
			continue
		}
		add("answers another question", serveUDP(t, func(q []byte, reply func([]byte)) {
			for range 10 {
				reply(p.stale(q))
			}
		}), short, health.WhyTimeout)
		add("has no end", serveUDP(t, func(q []byte, reply func([]byte)) {
			long := append(p.stale(q), make([]byte, 60000)...)
			for range 500 { // more than enough, since some are lost
				reply(long)
				time.Sleep(time.Millisecond)
			}
		}), enough, health.WhyTooLong)
	}
	try(t, all)
}

// otherID changes the identifier, which DNS has in the first two bytes, RADIUS in the second.
func otherID(q []byte) []byte {
	b := bytes.Clone(q)
	b[0] ^= 1
	b[1] ^= 1
	return b
}

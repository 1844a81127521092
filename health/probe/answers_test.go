package probe

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// written is a Dialer whose server has its answers ready, whatever it is asked.
type written string

func (w written) Dial(context.Context, string, netip.AddrPort) (net.Conn, error) {
	return &writtenConn{strings.NewReader(string(w))}, nil
}

type writtenConn struct{ io.Reader }

func (*writtenConn) Write(b []byte) (int, error)      { return len(b), nil }
func (*writtenConn) Close() error                     { return nil }
func (*writtenConn) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv6loopback, Port: 1} }
func (*writtenConn) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv6loopback, Port: 2} }
func (*writtenConn) SetDeadline(time.Time) error      { return nil }
func (*writtenConn) SetReadDeadline(time.Time) error  { return nil }
func (*writtenConn) SetWriteDeadline(time.Time) error { return nil }

// unhex reads bytes as they stand in an RFC or a packet dump.
func unhex(s string) string {
	b, err := hex.DecodeString(strings.Join(strings.Fields(s), ""))
	if err != nil {
		panic(err)
	}
	return string(b)
}

// The greeting of a MariaDB 10.11, and OK as the answer to a login.
var mariaDBGreeting = mysqlPacket(0, "\x0a5.5.5-10.11.19-MariaDB-0+deb12u1\x00"+"\x05\x00\x00\x00"+"abcdefgh\x00"+
	"\xfe\xf7\x2d\x02\x00\xff\x81\x15"+strings.Repeat("\x00", 6)+"\x1d\x00\x00\x00"+"ijklmnopqrst\x00"+"mysql_native_password\x00")

func mysqlPacket(number byte, s string) string {
	return string([]byte{byte(len(s)), byte(len(s) >> 8), 0, number}) + s
}

const mysqlOKPacket = "\x07\x00\x00\x02\x00\x00\x00\x02\x00\x00\x00"

// Answers word by word: what each protocol's server may say, and what it means.
var writtenAnswers = []struct {
	name   string
	probe  conf.Probe
	answer string
	want   health.Why
}{
	{"smtp", conf.Probe{Type: conf.ProbeSMTP}, "220 mx ESMTP\r\n250-mx\r\n250 HELP\r\n221 Bye\r\n", ""},
	{"smtp, only HELO", conf.Probe{Type: conf.ProbeSMTP}, "220 mx\r\n502 EHLO?\r\n250 mx\r\n221 Bye\r\n", ""},
	{"smtp, bare code", conf.Probe{Type: conf.ProbeSMTP}, "220\r\n250\r\n221\r\n", ""},
	{"smtp, bare line feeds", conf.Probe{Type: conf.ProbeSMTP}, "220 mx\n250 mx\n221 x\n", ""},
	{"smtp, QUIT refused", conf.Probe{Type: conf.ProbeSMTP}, "220 mx\r\n250 mx\r\n500 QUIT?\r\n", ""},
	{"smtp, busy", conf.Probe{Type: conf.ProbeSMTP}, "421 too many connections\r\n", health.WhyStatus},
	{"smtp, no service", conf.Probe{Type: conf.ProbeSMTP}, "554 no\r\n", health.WhyStatus},
	{"smtp, EHLO put off", conf.Probe{Type: conf.ProbeSMTP}, "220 mx\r\n421 closing\r\n", health.WhyStatus},
	{"smtp, neither EHLO nor HELO", conf.Probe{Type: conf.ProbeSMTP}, "220 mx\r\n502 no\r\n502 no\r\n", health.WhyStatus},
	{"smtp, four digits", conf.Probe{Type: conf.ProbeSMTP}, "2200 mx\r\n", health.WhyProtocol},
	{"smtp, code 999", conf.Probe{Type: conf.ProbeSMTP}, "999 mx\r\n", health.WhyProtocol},
	{"smtp, gone after the greeting", conf.Probe{Type: conf.ProbeSMTP}, "220 mx\r\n", health.WhyClosed},
	{"smtp, gone in a greeting", conf.Probe{Type: conf.ProbeSMTP}, "220-mx\r\n220-", health.WhyClosed},
	{"smtp, no STARTTLS", conf.Probe{Type: conf.ProbeSMTP, TLS: conf.TLS{Mode: conf.TLSStartTLS}}, "220 mx\r\n250 mx\r\n502 no\r\n", health.WhyStatus},
	// RFC 3207 section 4.2: what came before the handshake must not be taken for what comes after.
	{"smtp, plain text into TLS", conf.Probe{Type: conf.ProbeSMTP, TLS: conf.TLS{Mode: conf.TLSStartTLS}}, "220 mx\r\n250 mx\r\n220 go\r\n250 mx\r\n221 x\r\n", health.WhyProtocol},
	{"ftp", conf.Probe{Type: conf.ProbeFTP}, "120 soon\r\n220 now\r\n221 Bye\r\n", ""},
	{"ftp, no password needed", conf.Probe{Type: conf.ProbeFTP, User: "u"}, "220 ftp\r\n230 in\r\n221 Bye\r\n", ""},
	{"ftp, user refused", conf.Probe{Type: conf.ProbeFTP, User: "u"}, "220 ftp\r\n530 no\r\n", health.WhyLogin},
	{"ftp, password refused", conf.Probe{Type: conf.ProbeFTP, User: "u"}, "220 ftp\r\n331 who\r\n530 no\r\n", health.WhyLogin},
	{"imap", conf.Probe{Type: conf.ProbeIMAP}, "* OK ready\r\n* BYE\r\nc OK bye\r\n", ""},
	{"imap, known already", conf.Probe{Type: conf.ProbeIMAP}, "* PREAUTH hello\r\nc OK\r\n", ""},
	{"imap, busy", conf.Probe{Type: conf.ProbeIMAP}, "* BYE busy\r\n", health.WhyStatus},
	{"imap, BAD", conf.Probe{Type: conf.ProbeIMAP, User: "u"}, "* OK\r\nb BAD what\r\n", health.WhyStatus},
	{"imap, another tag", conf.Probe{Type: conf.ProbeIMAP, User: "u"}, "* OK\r\na OK\r\n", health.WhyProtocol},
	{"pop", conf.Probe{Type: conf.ProbePOP}, "+OK ready\r\n+OK\r\n", ""},
	{"pop, busy", conf.Probe{Type: conf.ProbePOP}, "-ERR [IN-USE]\r\n", health.WhyStatus},
	{"pop, refused", conf.Probe{Type: conf.ProbePOP, User: "u"}, "+OK\r\n-ERR no such user\r\n", health.WhyLogin},
	{"redis", conf.Probe{Type: conf.ProbeRedis}, "+PONG\r\n", ""},
	{"redis, loading", conf.Probe{Type: conf.ProbeRedis}, "-LOADING Redis is loading the dataset in memory\r\n", health.WhyStatus},
	{"redis, without its master", conf.Probe{Type: conf.ProbeRedis}, "-MASTERDOWN Link with MASTER is down\r\n", health.WhyStatus},
	{"redis, no password is set", conf.Probe{Type: conf.ProbeRedis, Password: "x"}, "-ERR Client sent AUTH, but no password is set\r\n", health.WhyLogin},
	{"redis, another type", conf.Probe{Type: conf.ProbeRedis}, ":1\r\n", health.WhyProtocol},
	{"mysql", conf.Probe{Type: conf.ProbeMySQL, User: "u"}, mariaDBGreeting + mysqlOKPacket, ""},
	{"mysql, full", conf.Probe{Type: conf.ProbeMySQL}, "\x17\x00\x00\x00\xff\x10\x04Too many connections", health.WhyStatus}, // 1040
	{"mysql, denied", conf.Probe{Type: conf.ProbeMySQL, User: "u"}, mariaDBGreeting + "\x0f\x00\x00\x02\xff\x15\x04#28000Access", health.WhyLogin},
	{"mysql, nobody is denied", conf.Probe{Type: conf.ProbeMySQL}, mariaDBGreeting + "\x0f\x00\x00\x02\xff\x15\x04#28000Access", ""},
	{"mysql, nobody, another error", conf.Probe{Type: conf.ProbeMySQL}, mariaDBGreeting + "\x0f\x00\x00\x02\xff\x10\x04#08004Too ma", health.WhyStatus},
	{"mysql, another number", conf.Probe{Type: conf.ProbeMySQL}, mariaDBGreeting + "\x07\x00\x00\x03\x00\x00\x00\x02\x00\x00\x00", health.WhyProtocol},
	{"mysql, empty packet", conf.Probe{Type: conf.ProbeMySQL}, "\x00\x00\x00\x00", health.WhyProtocol},
	{"mysql, short error", conf.Probe{Type: conf.ProbeMySQL}, "\x01\x00\x00\x00\xff", health.WhyProtocol},
	{"mysql, asks for a file", conf.Probe{Type: conf.ProbeMySQL, Query: "x"}, mariaDBGreeting + mysqlOKPacket + "\x05\x00\x00\x01\xfb/etc", health.WhyProtocol},
	{"mysql 4.0 passwords", conf.Probe{Type: conf.ProbeMySQL, User: "u"}, mariaDBGreeting + "\x01\x00\x00\x02\xfe", health.WhyLogin},
	{"pgsql", conf.Probe{Type: conf.ProbePgSQL, User: "u"}, "R\x00\x00\x00\x08\x00\x00\x00\x00S\x00\x00\x00\x08a\x00b\x00K\x00\x00\x00\x0c12345678Z\x00\x00\x00\x05I", ""},
	{"pgsql, nobody", conf.Probe{Type: conf.ProbePgSQL}, "N", ""},
	{"pgsql, no TLS", conf.Probe{Type: conf.ProbePgSQL, TLS: conf.TLS{Mode: conf.TLSOn}}, "N", health.WhyTLS},
	{"pgsql, plain text into TLS", conf.Probe{Type: conf.ProbePgSQL, TLS: conf.TLS{Mode: conf.TLSOn}}, "SR\x00", health.WhyProtocol},
	{"pgsql, ready before the login", conf.Probe{Type: conf.ProbePgSQL, User: "u"}, "Z\x00\x00\x00\x05I", health.WhyProtocol},
	{"pgsql, starting", conf.Probe{Type: conf.ProbePgSQL, User: "u"}, "E\x00\x00\x00\x20SFATAL\x00C57P03\x00Mstarting up\x00\x00", health.WhyStatus},
	{"pgsql, refused", conf.Probe{Type: conf.ProbePgSQL, User: "u"}, "E\x00\x00\x00\x18SFATAL\x00C28P01\x00Mno\x00\x00\x00", health.WhyLogin},
	{"pgsql, Kerberos", conf.Probe{Type: conf.ProbePgSQL, User: "u"}, "R\x00\x00\x00\x08\x00\x00\x00\x07", health.WhyLogin},
	{"pgsql, short length", conf.Probe{Type: conf.ProbePgSQL, User: "u"}, "R\x00\x00\x00\x03", health.WhyProtocol},
	{"ldap", conf.Probe{Type: conf.ProbeLDAP}, unhex("30 0c 02 01 02 61 07 0a 01 00 04 00 04 00"), ""},
	// As Active Directory writes it: every length in four bytes.
	{"ldap, long lengths", conf.Probe{Type: conf.ProbeLDAP}, unhex("30 84 00 00 00 10 02 01 02 61 84 00 00 00 07 0a 01 00 04 00 04 00"), ""},
	{"ldap, invalid login", conf.Probe{Type: conf.ProbeLDAP, User: "u"}, unhex("30 0c 02 01 02 61 07 0a 01 31 04 00 04 00"), health.WhyLogin},
	{"ldap, busy", conf.Probe{Type: conf.ProbeLDAP}, unhex("30 0c 02 01 02 61 07 0a 01 33 04 00 04 00"), health.WhyStatus},
	{"ldap, disconnects", conf.Probe{Type: conf.ProbeLDAP}, unhex("30 0c 02 01 00 78 07 0a 01 34 04 00 04 00"), health.WhyStatus},
	{"ldap, another request", conf.Probe{Type: conf.ProbeLDAP}, unhex("30 0c 02 01 03 61 07 0a 01 00 04 00 04 00"), health.WhyProtocol},
	{"ldap, indefinite length", conf.Probe{Type: conf.ProbeLDAP}, unhex("30 80 02 01 02 61 07 0a 01 00 04 00 04 00"), health.WhyProtocol},
	{"ldap, no entry", conf.Probe{Type: conf.ProbeLDAP, Name: "dc=x"}, unhex("30 0c 02 01 02 61 07 0a 01 00 04 00 04 00  30 0c 02 01 03 65 07 0a 01 00 04 00 04 00"), health.WhyContent},
	{"ldap, length beyond the end", conf.Probe{Type: conf.ProbeLDAP}, unhex("30 0c 02 01 02 61 7f 0a 01 00 04 00 04 00"), health.WhyProtocol},
	{"fastcgi", conf.Probe{Type: conf.ProbeFastCGI}, "\x01\x06\x00\x01\x00\x12\x00\x00Status: 200\r\n\r\npon\x01\x06\x00\x01\x00\x01\x02\x00g\x00\x00\x01\x03\x00\x01\x00\x08\x00\x00" + strings.Repeat("\x00", 8), ""},
	{"fastcgi, overloaded", conf.Probe{Type: conf.ProbeFastCGI}, "\x01\x03\x00\x01\x00\x08\x00\x00\x00\x00\x00\x00\x02\x00\x00\x00", health.WhyStatus},
	{"fastcgi, no header", conf.Probe{Type: conf.ProbeFastCGI}, "\x01\x06\x00\x01\x00\x04\x00\x00pong\x01\x03\x00\x01\x00\x08\x00\x00" + strings.Repeat("\x00", 8), health.WhyProtocol},
	{"fastcgi, short end", conf.Probe{Type: conf.ProbeFastCGI}, "\x01\x03\x00\x01\x00\x01\x00\x00\x00", health.WhyProtocol},
	{"sip, another version", conf.Probe{Type: conf.ProbeSIP, Transport: "tcp"}, "SIP/3.0 200 OK\r\n\r\n", health.WhyProtocol},
	{"http, another protocol", conf.Probe{Type: conf.ProbeHTTP}, "220 mx ESMTP\r\n", health.WhyProtocol},
	{"http, negative length", conf.Probe{Type: conf.ProbeHTTP}, "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", health.WhyProtocol},
	{"http, short body", conf.Probe{Type: conf.ProbeHTTP}, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc", health.WhyClosed},
	{"http, short chunk", conf.Probe{Type: conf.ProbeHTTP}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", health.WhyClosed},
	{"http, bad chunk", conf.Probe{Type: conf.ProbeHTTP}, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\nabc\r\n", health.WhyProtocol},
	{"dns, short", conf.Probe{Type: conf.ProbeDNS, Transport: "tcp"}, "\x00\x01x", health.WhyProtocol},
	{"tcp", conf.Probe{Type: conf.ProbeTCP, Expect: "b+c"}, "abbbc", ""},
	{"tcp, another answer", conf.Probe{Type: conf.ProbeTCP, Expect: "^b"}, "abbbc", health.WhyContent},
}

func TestWrittenAnswers(t *testing.T) {
	for _, c := range writtenAnswers {
		t.Run(c.name, func(t *testing.T) {
			r := askBy(t, c.probe, netip.MustParseAddrPort("127.0.0.1:1"), enough, written(c.answer))
			if r.Why != c.want {
				t.Errorf("got %q: %s; want %q", r.Why, r.Text, c.want)
			}
		})
	}
}

// Cut anywhere, a good answer is one that ended too soon, and never a good one. (Of an
// answer whose end nobody has to wait for, a part may do.)
func TestCutAnswers(t *testing.T) {
	for _, c := range writtenAnswers {
		if c.want != "" || c.probe.Type == conf.ProbeTCP {
			continue
		}
		whole := strings.TrimRight(c.answer, "\r\n")
		for n := range len(whole) {
			r := askBy(t, c.probe, netip.MustParseAddrPort("127.0.0.1:1"), enough, written(c.answer[:n]))
			if r.Why != health.WhyClosed {
				t.Errorf("%s, cut after %d of %d bytes: %q: %s", c.name, n, len(c.answer), r.Why, r.Text)
			}
		}
	}
}

// Whatever a server sends, a probe says something of the server: it does not panic, hang,
// or take the trouble for the director's own.
func FuzzAnswer(f *testing.F) {
	for i := range tcpProtocols {
		for _, s := range []string{tcpProtocols[i].begin, tcpProtocols[i].endless + tcpProtocols[i].again} {
			f.Add(uint8(i), []byte(s))
		}
	}
	for _, a := range writtenAnswers {
		for i := range tcpProtocols {
			if tcpProtocols[i].probe.Type == a.probe.Type {
				f.Add(uint8(i), []byte(a.answer))
			}
		}
	}
	f.Fuzz(func(t *testing.T, i uint8, answer []byte) {
		p := tcpProtocols[int(i)%len(tcpProtocols)]
		if p.name == "http/2" || p.name == "grpc" { // net/http's own, with goroutines
			return
		}
		r := askBy(t, p.probe, netip.MustParseAddrPort("127.0.0.1:1"), enough, written(answer))
		if r.Why == health.WhyLocal || r.Why == health.WhyTimeout {
			t.Errorf("%s: %q: %s", p.name, r.Why, r.Text)
		}
	})
}

// The same for datagrams.
func FuzzDatagram(f *testing.F) {
	q := dns{question: dnsmessage.Question{Name: dnsmessage.MustNewName("a.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}
	good := dnsmessage.Message{Header: dnsmessage.Header{ID: 1, Response: true}, Questions: []dnsmessage.Question{q.question}}
	for _, body := range []dnsmessage.ResourceBody{
		&dnsmessage.AResource{}, &dnsmessage.MXResource{MX: q.question.Name}, &dnsmessage.TXTResource{TXT: []string{"x"}},
		&dnsmessage.SOAResource{NS: q.question.Name, MBox: q.question.Name}, &dnsmessage.SRVResource{Target: q.question.Name},
		&dnsmessage.UnknownResource{Type: 99, Data: []byte("x")},
	} {
		m := good
		m.Answers = []dnsmessage.Resource{{Header: dnsmessage.ResourceHeader{Name: q.question.Name, Class: dnsmessage.ClassINET}, Body: body}}
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(radiusAccept))
	f.Add([]byte("SIP/2.0 200 OK\r\ni: tag\r\nContent-Length: 3\r\n\r\nabc"))
	f.Add([]byte("\x00\x00\x00\x00\x02\x08\x01"))
	f.Add([]byte("\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x00\x00\x7f\x00\x00\x01\x7f\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		q.judge(b, 1)
		radius{secret: []byte("xyzzy5461")}.judge(b, []byte(radiusRequest))
		judgeSIP(bufio.NewReader(bytes.NewReader(b)), "tag")
		judgeHealth(b)
		isReply(afterHeader(b), make([]byte, echoHeader+echoCookie), echoReply4)
		if new(page).judgeBody(b, false) != nil {
			t.Error("a body nobody asks about is bad")
		}
	})
}

// The example of RFC 2865 section 7.1: user nemo, password arctangent, secret xyzzy5461.
var (
	radiusRequest = unhex(`01 00 00 38 0f 40 3f 94 73 97 80 57 bd 83 d5 cb 98 f4 22 7a 01 06 6e 65 6d 6f
		02 12 0d be 70 8d 93 d4 13 ce 31 96 e4 3f 78 2a 0a ee 04 06 c0 a8 01 10 05 06 00 00 00 03`)
	radiusAccept = unhex(`02 00 00 26 86 fe 22 0e 76 24 ba 2a 10 05 f6 bf 9b 55 e0 b2 06 06 00 00 00 01
		0f 06 00 00 00 00 0e 06 c0 a8 01 03`)
)

func TestRADIUSExampleOfTheRFC(t *testing.T) {
	secret := []byte("xyzzy5461")
	if got := hidePassword("arctangent", secret, []byte(radiusRequest[4:20])); string(got) != radiusRequest[28:44] {
		t.Errorf("hidden password %x", got)
	}
	a := radius{secret: secret}
	if done, err := a.judge([]byte(radiusAccept), []byte(radiusRequest)); !done || err != nil {
		t.Errorf("the RFC's Access-Accept: %v, %v", done, err)
	}
	if done, err := a.judge([]byte(radiusAccept+"padding"), []byte(radiusRequest)); !done || err != nil {
		t.Errorf("the same with padding: %v, %v", done, err)
	}
	for i := range radiusAccept {
		other := []byte(radiusAccept)
		other[i] ^= 1
		if done, err := a.judge(other, []byte(radiusRequest)); done || err == nil && i != 1 {
			t.Errorf("with another byte %d: %v, %v", i, done, err)
		}
	}
}

// The example of RFC 7677 section 3: user "user", password "pencil".
func TestSCRAMExampleOfTheRFC(t *testing.T) {
	s := scram{nonce: "rOprNGfwEbeRWgbNEkqO", message: "n=user,r=rOprNGfwEbeRWgbNEkqO"}
	const server = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
	got, err := s.final(server+",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "pencil")
	if want := "c=biws," + server + ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="; err != nil || got != want {
		t.Errorf("client-final-message %s, %v; want %s", got, err, want)
	}
	if err := s.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="); err != nil {
		t.Error(err)
	}
	if s.verify("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G5=") == nil {
		t.Error("another server's signature is taken")
	}
	for _, bad := range []string{"", "r=rOprNGfwEbeRWgbNEkqO,s=QQ==,i=1", "r=other,s=QQ==,i=1", server + ",s=?,i=1", server + ",s=QQ==,i=0",
		server + ",s=QQ==,i=2000000000", server + ",i=1,s=QQ=="} {
		if got, err := s.final(bad, "pencil"); err == nil {
			t.Errorf("%q is answered: %s", bad, got)
		}
	}
}

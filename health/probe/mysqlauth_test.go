package probe

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// sha2Server is the server's side of caching_sha2_password, which MariaDB does not have:
// it keeps SHA256(SHA256(password)) and checks what comes as MySQL's source says
// (sql/auth/sha2_password.cc), not as the prober computes it.
type sha2Server struct {
	password string
	cached   bool
	first    string // plugin of the greeting
	key      *rsa.PrivateKey
	tls      *tls.Config
}

const sha2Nonce = "abcdefghijklmnopqrst"

func (s sha2Server) serve(c net.Conn) {
	if err := s.login(c); err != nil {
		io.WriteString(c, mysqlPacket(0, "\xff\x15\x04#28000"+err.Error())) // number 0: bad in any case
	}
	held(c)
}

// mysqlIn reads one packet.
func mysqlIn(r io.Reader) (seq byte, b []byte) {
	h := make([]byte, 4)
	io.ReadFull(r, h)
	b = make([]byte, int(h[0])|int(h[1])<<8)
	io.ReadFull(r, b)
	return h[3], b
}

func mysqlOut(w io.Writer, number byte, s string) { io.WriteString(w, mysqlPacket(number, s)) }

func (s sha2Server) login(c net.Conn) error {
	greeting := strings.Replace(mariaDBGreeting[4:], "mysql_native_password", s.first, 1)
	greeting = strings.Replace(greeting, "\xfe\xf7", "\xfe\xff", 1) // with CLIENT_SSL
	mysqlOut(c, 0, greeting)
	var w net.Conn = c
	seq, b := mysqlIn(c)
	if s.tls != nil {
		w = tls.Server(c, s.tls)
		seq, b = mysqlIn(w)
	}
	r := bufio.NewReader(w)
	_, rest, _ := bytes.Cut(b[32:], []byte{0}) // after the user
	proof := rest[1 : 1+rest[0]]
	if s.first != mysqlSHA2 {
		mysqlOut(w, seq+1, "\xfe"+mysqlSHA2+"\x00"+sha2Nonce+"\x00")
		seq, proof = mysqlIn(r)
	}
	stage1 := sha256.Sum256([]byte(s.password))
	stored := sha256.Sum256(stage1[:])
	if s.cached {
		mask := sha256.Sum256(append(stored[:], sha2Nonce...))
		if len(proof) != sha256.Size {
			return fmt.Errorf("a proof of %d bytes", len(proof))
		}
		for i := range mask {
			mask[i] ^= proof[i]
		}
		if sha256.Sum256(mask[:]) != stored {
			return fmt.Errorf("wrong proof")
		}
		mysqlOut(w, seq+1, "\x01\x03")
		mysqlOut(w, seq+2, mysqlOKPacket[4:])
		return nil
	}
	mysqlOut(w, seq+1, "\x01\x04")
	seq, b = mysqlIn(r)
	if s.tls == nil {
		if string(b) != "\x02" {
			return fmt.Errorf("a password without encryption: %q", b)
		}
		der, _ := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
		mysqlOut(w, seq+1, "\x01"+string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})))
		seq, b = mysqlIn(r)
		clear, err := rsa.DecryptOAEP(sha1.New(), nil, s.key, b, nil)
		if err != nil {
			return err
		}
		for i := range clear {
			clear[i] ^= sha2Nonce[i%len(sha2Nonce)]
		}
		b = clear
	}
	if string(b) != s.password+"\x00" {
		return fmt.Errorf("password %q", b)
	}
	mysqlOut(w, seq+1, mysqlOKPacket[4:])
	return nil
}

func TestMySQLCachingSHA2(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	encrypted := &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(time.Hour))}}
	for _, first := range []string{mysqlSHA2, mysqlNative, "unknown_plugin"} {
		for _, cached := range []bool{true, false} {
			for _, over := range []*tls.Config{nil, encrypted} {
				t.Run(fmt.Sprint(first, " cached ", cached, " TLS ", over != nil), func(t *testing.T) {
					const password = "a password longer than the nonce is"
					at := serve(t, sha2Server{password, cached, first, key, over}.serve)
					p := conf.Probe{Type: conf.ProbeMySQL, User: "u", Password: password}
					if over != nil {
						p.TLS.Mode = conf.TLSOn
					}
					wantGood(t, ask(t, p, at, enough))
					p.Password = "wrong"
					if r := ask(t, p, at, enough); r.OK {
						t.Error("a wrong password is good")
					}
				})
			}
		}
	}
}

// A plugin that is not known is named.
func TestMySQLUnknownPlugin(t *testing.T) {
	ed25519 := "\xfeclient_ed25519\x00" + sha2Nonce + sha2Nonce[:12]
	answer := mariaDBGreeting + mysqlPacket(2, ed25519)
	r := askBy(t, conf.Probe{Type: conf.ProbeMySQL, User: "u", Password: "x"}, freePort(t), enough, written(answer))
	if r.Why != health.WhyLogin || !strings.Contains(r.Text, "client_ed25519") {
		t.Errorf("%q: %s", r.Why, r.Text)
	}
}

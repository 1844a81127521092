package probe

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// certificate is self-signed, for probe.test and 127.0.0.1, and ends at the given time.
func certificate(t testing.TB, end time.Time) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "probe.test"},
		DNSNames: []string{"probe.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: end.Add(-365 * 24 * time.Hour), NotAfter: end, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

// pemFiles writes a certificate and its key, readable by daemons that become somebody else.
func pemFiles(t testing.TB, c tls.Certificate) (cert, key string) {
	t.Helper()
	dir := openDir(t)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for path, block := range map[string]*pem.Block{
		cert: {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return cert, key
}

// openDir is a directory that every user may enter.
func openDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "probe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// What a probe says of certificates: verified only if asked to, expired ones told apart.
func TestCertificates(t *testing.T) {
	good, expired := certificate(t, time.Now().Add(5*24*time.Hour)), certificate(t, time.Now().Add(-time.Hour))
	goodCA, key := pemFiles(t, good)
	expiredCA, _ := pemFiles(t, expired)
	for _, c := range []struct {
		name    string
		server  *tls.Config
		tls     conf.TLS
		host    string
		want    health.Why
		warning string
	}{
		{name: "not verified", server: &tls.Config{Certificates: []tls.Certificate{good}}},
		{name: "not verified, expired", server: &tls.Config{Certificates: []tls.Certificate{expired}}},
		{name: "not verified, expired, warned", server: &tls.Config{Certificates: []tls.Certificate{expired}},
			tls: conf.TLS{Warn: time.Hour}, warning: "ended at"},
		{name: "verified by address", server: &tls.Config{Certificates: []tls.Certificate{good}},
			tls: conf.TLS{Verify: true, CA: goodCA}},
		{name: "verified by name", server: &tls.Config{Certificates: []tls.Certificate{good}},
			tls: conf.TLS{Verify: true, CA: goodCA, Name: "probe.test"}},
		{name: "verified by host", server: &tls.Config{Certificates: []tls.Certificate{good}},
			tls: conf.TLS{Verify: true, CA: goodCA}, host: "probe.test:8443"},
		{name: "another name", server: &tls.Config{Certificates: []tls.Certificate{good}},
			tls: conf.TLS{Verify: true, CA: goodCA, Name: "other.test"}, want: health.WhyTLS},
		{name: "another host", server: &tls.Config{Certificates: []tls.Certificate{good}},
			tls: conf.TLS{Verify: true, CA: goodCA}, host: "other.test", want: health.WhyTLS},
		{name: "unknown issuer", server: &tls.Config{Certificates: []tls.Certificate{good}},
			tls: conf.TLS{Verify: true, CA: expiredCA}, want: health.WhyTLS},
		{name: "expired", server: &tls.Config{Certificates: []tls.Certificate{expired}},
			tls: conf.TLS{Verify: true, CA: expiredCA}, want: health.WhyExpired},
		{name: "ends soon", server: &tls.Config{Certificates: []tls.Certificate{good}},
			tls: conf.TLS{Verify: true, CA: goodCA, Warn: 7 * 24 * time.Hour}, warning: "in 4 days"},
		{name: "ends later", server: &tls.Config{Certificates: []tls.Certificate{good}},
			tls: conf.TLS{Verify: true, CA: goodCA, Warn: 3 * 24 * time.Hour}},
		{name: "client certificate", server: &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert},
			tls: conf.TLS{Cert: goodCA, Key: key}},
		{name: "client certificate missing", server: &tls.Config{Certificates: []tls.Certificate{good}, ClientAuth: tls.RequireAnyClientCert},
			want: health.WhyTLS},
		{name: "old TLS", server: &tls.Config{Certificates: []tls.Certificate{good}, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10}},
	} {
		t.Run(c.name, func(t *testing.T) {
			names := make(chan string, 1)
			c.server.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) { names <- h.ServerName; return nil, nil }
			at := serve(t, func(n net.Conn) {
				s := tls.Server(n, c.server)
				if s.Handshake() == nil {
					s.Read(make([]byte, 4096))
					io.WriteString(s, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
				held(n)
			})
			c.tls.Mode = conf.TLSOn
			r := ask(t, conf.Probe{Type: conf.ProbeHTTPS, TLS: c.tls, Host: c.host}, at, enough)
			if c.want == health.WhyNone {
				wantGood(t, r)
			} else {
				wantBad(t, r, c.want)
			}
			if (c.warning == "") != (r.Warning == "") || !strings.Contains(r.Warning, c.warning) {
				t.Errorf("warning %q, want %q", r.Warning, c.warning)
			}
			sni, _, _ := strings.Cut(c.host, ":")
			if c.tls.Name != "" {
				sni = c.tls.Name
			}
			if got := <-names; got != sni {
				t.Errorf("SNI %q, want %q", got, sni)
			}
		})
	}
}

// Files that are not there, or not certificates, are errors of the configuration.
func TestNewNamesTheBadCertificateFile(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tls := range []conf.TLS{{CA: "/nowhere.pem"}, {CA: empty}, {Cert: "/nowhere.pem", Key: empty}, {Cert: empty, Key: empty}} {
		tls.Mode = conf.TLSOn
		_, err := New(conf.Probe{Type: conf.ProbeHTTPS, TLS: tls}, health.Target{}, Plain{})
		if err == nil || !strings.Contains(err.Error(), tls.CA+tls.Cert) {
			t.Errorf("%+v: error %v does not name the file", tls, err)
		}
	}
}

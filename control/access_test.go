package control

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/control/api"
)

// authority signs certificates of a test.
type authority struct {
	tb   testing.TB
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	file string
}

func newAuthority(tb testing.TB, dir, name string) *authority {
	a := &authority{tb: tb, dir: dir}
	a.file, _ = a.issue(name, time.Now().Add(time.Hour), true)
	return a
}

// issue writes a certificate and its key. The first one is the authority's own.
func (a *authority) issue(name string, until time.Time, ca bool) (cert, key string) {
	a.tb.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.tb.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: until.Add(-24 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: ca, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = tmpl, priv
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, parent, &priv.PublicKey, signer)
	if err != nil {
		a.tb.Fatal(err)
	}
	if a.cert == nil {
		a.key = priv
		if a.cert, err = x509.ParseCertificate(der); err != nil {
			a.tb.Fatal(err)
		}
	}
	keyDER, err := x509.MarshalECPrivateKey(priv)
	if err != nil {
		a.tb.Fatal(err)
	}
	return a.write(name+".pem", "CERTIFICATE", der), a.write(name+".key", "EC PRIVATE KEY", keyDER)
}

func (a *authority) write(name, kind string, der []byte) string {
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		a.tb.Fatal(err)
	}
	return path
}

const secret = "0123456789abcdef0123456789abcdef"

func tokenFile(tb testing.TB, text string, mode os.FileMode) string {
	tb.Helper()
	path := filepath.Join(tb.TempDir(), "token")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		tb.Fatal(err)
	}
	return path
}

// remoteAPI serves a director's API as cfg says and returns its address.
func remoteAPI(t *testing.T, cfg conf.API) (m *inMemory, address string) {
	t.Helper()
	m = newInMemory(t)
	probe, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.Listen = netip.MustParseAddrPort(probe.Addr().String())
	probe.Close()
	if err := m.outside.open(&conf.Config{API: cfg}); err != nil {
		t.Fatal(err)
	}
	m.serveUntilEnd(m.outside.api, "api", m.admit(&m.outside.access, m.routes()))
	if cfg.Cert == "" {
		return m, "http://" + cfg.Listen.String()
	}
	return m, "https://" + cfg.Listen.String()
}

// ask asks the director at an address with the environment of a client.
func ask(t *testing.T, address string, env map[string]string) error {
	t.Helper()
	for _, name := range []string{"DIRIGO_TOKEN", "DIRIGO_CA", "DIRIGO_CERT", "DIRIGO_KEY"} {
		t.Setenv(name, env[name])
	}
	var s api.Timeouts
	err := api.NewClient(address).Get("/v1/timeouts", &s)
	if err == nil && s.TCP != 900 {
		t.Errorf("the answer is %+v", s)
	}
	return err
}

func wantError(t *testing.T, what string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: %v; want an error with %q", what, err, words)
	}
}

func TestTokenOpensTheAPI(t *testing.T) {
	m, address := remoteAPI(t, conf.API{TokenFile: tokenFile(t, secret+"\n", 0o640)})
	wantError(t, "no token", ask(t, address, nil), "does not show the director's token")
	for _, wrong := range []string{secret[:31], secret + "0", strings.ToUpper(secret), "x"} {
		wantError(t, "token "+wrong, ask(t, address, map[string]string{"DIRIGO_TOKEN": wrong}), "does not show the director's token")
	}
	if err := ask(t, address, map[string]string{"DIRIGO_TOKEN": secret}); err != nil {
		t.Errorf("the right token: %v", err)
	}
	for header, status := range map[string]int{"Bearer " + secret: 200, "bearer " + secret: 200, "Basic " + secret: 401, secret: 401, "": 401} {
		for _, path := range []string{"/v1/timeouts", "/v1/changes", "/no/such/thing"} { // who may not ask learns nothing
			req, err := http.NewRequest("GET", address+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Authorization", header)
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if status == 401 && (resp.StatusCode != 401 || resp.Header.Get("WWW-Authenticate") != "Bearer") || status == 200 && resp.StatusCode == 401 {
				t.Errorf("%s with %q: %s", path, header, resp.Status)
			}
		}
	}
	if n := m.outside.refused.Load(); n != 5+9 {
		t.Errorf("%d requests were counted as refused, want 14", n)
	}
}

func TestCertificatesOpenTheAPI(t *testing.T) {
	dir := t.TempDir()
	ours, theirs := newAuthority(t, dir, "ours"), newAuthority(t, dir, "theirs")
	later, past := time.Now().Add(time.Hour), time.Now().Add(-time.Hour)
	cert, key := ours.issue("director", later, false)
	good, goodKey := ours.issue("admin", later, false)
	old, oldKey := ours.issue("old", past, false)
	strange, strangeKey := theirs.issue("stranger", later, false)
	_, address := remoteAPI(t, conf.API{ClientCA: ours.file, Cert: cert, Key: key})
	env := func(ca, cert, key string) map[string]string {
		return map[string]string{"DIRIGO_CA": ca, "DIRIGO_CERT": cert, "DIRIGO_KEY": key}
	}
	if err := ask(t, address, env(ours.file, good, goodKey)); err != nil {
		t.Errorf("the right certificate: %v", err)
	}
	wantError(t, "no certificate", ask(t, address, env(ours.file, "", "")), "certificate required")
	wantError(t, "an expired certificate", ask(t, address, env(ours.file, old, oldKey)), "expired certificate")
	wantError(t, "a stranger's certificate", insist(t, address, strange, strangeKey), "unknown certificate authority")
	if err := insist(t, address, good, goodKey); err != nil {
		t.Errorf("the right certificate, not asked for its authority: %v", err)
	}
	wantError(t, "a wrong authority", ask(t, address, env(theirs.file, good, goodKey)), "unknown authority")
	wantError(t, "the host's authorities", ask(t, address, env("", good, goodKey)), "unknown authority")
	c, err := tls.Dial("tcp", strings.TrimPrefix(address, "https://"), &tls.Config{MaxVersion: tls.VersionTLS12, InsecureSkipVerify: true})
	if err == nil {
		c.Close()
	}
	wantError(t, "TLS 1.2", err, "protocol version")
}

// insist shows a certificate whatever authorities the director names, which Go's clients
// heed by themselves.
func insist(t *testing.T, address, cert, key string) error {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	c := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }}}}
	resp, err := c.Get(address + "/v1/timeouts")
	if err == nil {
		resp.Body.Close()
	}
	return err
}

// With both a token and an authority a client needs both; and a director's expired
// certificate is refused by the client.
func TestTokenAndCertificateAreNeededBoth(t *testing.T) {
	ours := newAuthority(t, t.TempDir(), "ours")
	cert, key := ours.issue("director", time.Now().Add(time.Hour), false)
	good, goodKey := ours.issue("admin", time.Now().Add(time.Hour), false)
	_, address := remoteAPI(t, conf.API{TokenFile: tokenFile(t, secret, 0o600), ClientCA: ours.file, Cert: cert, Key: key})
	both := map[string]string{"DIRIGO_CA": ours.file, "DIRIGO_CERT": good, "DIRIGO_KEY": goodKey, "DIRIGO_TOKEN": secret}
	if err := ask(t, address, both); err != nil {
		t.Errorf("both: %v", err)
	}
	wantError(t, "no token", ask(t, address, map[string]string{"DIRIGO_CA": ours.file, "DIRIGO_CERT": good, "DIRIGO_KEY": goodKey}), "token")
	wantError(t, "no certificate", ask(t, address, map[string]string{"DIRIGO_CA": ours.file, "DIRIGO_TOKEN": secret}), "certificate required")

	cert, key = ours.issue("expired", time.Now().Add(-time.Hour), false)
	_, address = remoteAPI(t, conf.API{TokenFile: tokenFile(t, secret, 0o600), Cert: cert, Key: key})
	wantError(t, "the director's expired certificate", ask(t, address, both), "expired")
}

func TestAccessFilesAreChecked(t *testing.T) {
	ours := newAuthority(t, t.TempDir(), "ours")
	cert, key := ours.issue("director", time.Now().Add(time.Hour), false)
	good := tokenFile(t, secret, 0o600)
	for want, cfg := range map[string]conf.API{
		"everybody could command the director":               {},
		"every user of this host may use":                    {TokenFile: tokenFile(t, secret, 0o644)},
		"does not hold one word of at least 16":              {TokenFile: tokenFile(t, "short\n", 0o600)},
		"api.token_file: stat /no/such/file: no such file":   {TokenFile: "/no/such/file"},
		"api.client_ca: open /no/such/file":                  {ClientCA: "/no/such/file", Cert: cert, Key: key},
		"api.client_ca: " + good + " holds no certificate":   {ClientCA: good, Cert: cert, Key: key},
		"api.cert: tls: failed to find any PEM data in cert": {TokenFile: good, Cert: good, Key: key},
		"api.key: stat /no/such/file":                        {TokenFile: good, Cert: cert, Key: "/no/such/file"},
	} {
		_, err := readAccess(&cfg)
		wantError(t, "files", err, want)
	}
	if err := os.Chmod(key, 0o604); err != nil {
		t.Fatal(err)
	}
	_, err := readAccess(&conf.API{TokenFile: good, Cert: cert, Key: key})
	wantError(t, "a key that all may read", err, "api.key: every user")
}

func TestClientRefusesToShowTheTokenInClear(t *testing.T) {
	for address, words := range map[string]string{
		"http://192.0.2.1:9443": "would be shown to the network", "http://example.org": "would be shown to the network",
		"https://192.0.2.1:9443/v1": "write it like", "https://": "write it like",
	} {
		wantError(t, address, ask(t, address, map[string]string{"DIRIGO_TOKEN": secret}), words)
	}
}

// The socket is root's alone, or a group's too.
func TestControlSocketIsOfItsGroup(t *testing.T) {
	dir := t.TempDir()
	_, err := listenGroup(filepath.Join(dir, "a"), "no-such-group")
	wantError(t, "a group that there is not", err, `there is no group "no-such-group" on this host`)
	if _, err := os.Stat(filepath.Join(dir, "a")); !os.IsNotExist(err) {
		t.Errorf("a socket was left: %v", err)
	}
	u, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	g, err := user.LookupGroupId(u.Gid)
	if os.Getuid() == 0 {
		g, err = user.LookupGroup("daemon")
	}
	if err != nil {
		t.Fatal(err)
	}
	for group, mode := range map[string]os.FileMode{"": 0o600, g.Name: 0o660} {
		path := filepath.Join(dir, "s"+group)
		l, err := listenGroup(path, group)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		st, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if st.Mode().Perm() != mode {
			t.Errorf("group %q: mode %v, want %v", group, st.Mode().Perm(), mode)
		}
		if gid := int(st.Sys().(*syscall.Stat_t).Gid); group != "" && strconv.Itoa(gid) != g.Gid {
			t.Errorf("group %q: gid %d, want %s", group, gid, g.Gid)
		}
	}
}

package probe

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// The first line of a file is the password or the secret, without its end.
func TestSecretFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	for text, want := range map[string]string{
		"s3cret": "s3cret", "s3cret\n": "s3cret", "s3cret\r\nmore\n": "s3cret", " a b \n": " a b ",
		strings.Repeat("x", 4096) + "\r\n": strings.Repeat("x", 4096),
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := conf.Probe{PasswordFile: path}
		if err := readSecrets(&p); err != nil || p.Password != want || p.Secret != "" {
			t.Errorf("%.20q: password %.20q, secret %q, %v", text, p.Password, p.Secret, err)
		}
		p = conf.Probe{SecretFile: path}
		if err := readSecrets(&p); err != nil || p.Secret != want || p.Password != "" {
			t.Errorf("%.20q: secret %.20q, password %q, %v", text, p.Secret, p.Password, err)
		}
	}
	// New uses them.
	if err := os.WriteFile(path, []byte("s3cret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(conf.Probe{Type: conf.ProbeRADIUS, SecretFile: path}, health.Target{Addr: netip.MustParseAddr("127.0.0.1")}, Plain{}); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("a\rb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(conf.Probe{Type: conf.ProbePOP, User: "u", PasswordFile: path}, health.Target{}, Plain{}); err == nil || !strings.Contains(err.Error(), "password") {
		t.Errorf("a password that cannot be said: %v", err)
	}
}

func TestSecretFilesRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	for _, text := range []string{"", "\n", "\r\ns3cret\n", strings.Repeat("x", 4097), strings.Repeat("x", 5000) + "\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := New(conf.Probe{Type: conf.ProbeRADIUS, SecretFile: path}, health.Target{}, Plain{})
		if err == nil || !strings.Contains(err.Error(), "secret_file: ") || !strings.Contains(err.Error(), path) || strings.Contains(err.Error(), "xx") {
			t.Errorf("%.20q: %v", text, err)
		}
	}
	for _, path := range []string{dir, filepath.Join(dir, "none")} {
		_, err := New(conf.Probe{Type: conf.ProbePOP, User: "u", PasswordFile: path}, health.Target{}, Plain{})
		if err == nil || !strings.Contains(err.Error(), "password_file: ") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

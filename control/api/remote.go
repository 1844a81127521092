package api

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"
)

// What a client of a director on the network needs is in its environment, so that no
// token stands in an argument, which everybody on the host can read.
const (
	tokenEnv = "DIRIGO_TOKEN" // for Authorization: Bearer
	caEnv    = "DIRIGO_CA"    // PEM file: authorities of the director's certificate; unset: the host's
	certEnv  = "DIRIGO_CERT"  // PEM file: the client's certificate
	keyEnv   = "DIRIGO_KEY"   // PEM file: its key
)

// remote is the client of a director at an address of the network. What is wrong with the
// address or the environment is said at the first request.
func remote(address string) *Client {
	c := &Client{path: address, header: http.Header{}}
	tr := &http.Transport{TLSHandshakeTimeout: 5 * time.Second}
	c.http.Transport = tr
	u, err := url.Parse(address)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" {
		c.broken = fmt.Errorf("director at %q: write it like https://192.0.2.1:9443", address)
		return c
	}
	c.base = u.Scheme + "://" + u.Host
	if token := os.Getenv(tokenEnv); token != "" {
		c.header.Set("Authorization", "Bearer "+token)
	}
	if u.Scheme == "http" {
		if a, err := netip.ParseAddr(u.Hostname()); u.Hostname() != "localhost" && (err != nil || !a.IsLoopback()) {
			c.broken = fmt.Errorf("director at %s: without TLS the token would be shown to the network; write https", address)
		}
		return c
	}
	tr.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS13}
	c.broken = errors.Join(ownCA(tr.TLSClientConfig), ownCertificate(tr.TLSClientConfig))
	return c
}

func ownCA(cfg *tls.Config) error {
	path := os.Getenv(caEnv)
	if path == "" {
		return nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("%s: %w", caEnv, err)
	}
	cfg.RootCAs = x509.NewCertPool()
	if !cfg.RootCAs.AppendCertsFromPEM(pem) {
		return fmt.Errorf("%s: %s holds no certificate in PEM", caEnv, path)
	}
	return nil
}

func ownCertificate(cfg *tls.Config) error {
	cert, key := os.Getenv(certEnv), os.Getenv(keyEnv)
	if cert == "" && key == "" {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return fmt.Errorf("%s, %s: %w", certEnv, keyEnv, err)
	}
	cfg.Certificates = []tls.Certificate{pair}
	return nil
}

// isAddress reports whether a control path is an address of the network.
func isAddress(path string) bool {
	return strings.HasPrefix(path, "https://") || strings.HasPrefix(path, "http://")
}

package control

import (
	"bytes"
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/user"
	"strconv"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
)

// minToken is the least length of a token: one that can be guessed is none.
const minToken = 16

// listenGroup makes the control socket and lets a group use it too, "" for none.
func listenGroup(path, group string) (net.Listener, error) {
	gid := -1
	if group != "" { // before there is anything to take away again
		g, err := user.LookupGroup(group)
		if err != nil {
			return nil, fmt.Errorf("director.control_group: there is no group %q on this host", group)
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return nil, fmt.Errorf("director.control_group: group %q: %w", group, err)
		}
	}
	l, err := listen(path)
	if err != nil || group == "" {
		return l, err
	}
	if err := errors.Join(os.Chown(path, -1, gid), os.Chmod(path, 0o660)); err != nil {
		l.Close()
		return nil, fmt.Errorf("control socket: %w", err)
	}
	return l, nil
}

// access is who may use the control API from the network.
type access struct {
	token *[sha256.Size]byte // digest of the token; nil: none is asked for
	tls   *tls.Config        // nil: plain HTTP
}

// readAccess reads the files that cfg names.
func readAccess(cfg *conf.API) (a access, err error) {
	if cfg.TokenFile == "" && cfg.ClientCA == "" { // validated before; a mistake here opens a door
		return a, errors.New("api: without token_file and client_ca everybody could command the director")
	}
	if cfg.TokenFile != "" {
		b, err := readSecret("api.token_file", cfg.TokenFile)
		if err != nil {
			return a, err
		}
		token := bytes.TrimSpace(b)
		if len(token) < minToken || bytes.ContainsAny(token, " \t\r\n") {
			return a, fmt.Errorf("api.token_file: %s does not hold one word of at least %d characters; \"openssl rand -hex 32\" makes one", cfg.TokenFile, minToken)
		}
		a.token = new(sha256.Sum256(token))
	}
	if cfg.Cert == "" {
		return a, nil
	}
	if _, err := readSecret("api.key", cfg.Key); err != nil {
		return a, err
	}
	cert, err := tls.LoadX509KeyPair(cfg.Cert, cfg.Key)
	if err != nil {
		return a, fmt.Errorf("api.cert: %w", err)
	}
	a.tls = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}}
	if cfg.ClientCA != "" {
		pem, err := os.ReadFile(cfg.ClientCA)
		if err != nil {
			return a, fmt.Errorf("api.client_ca: %w", err)
		}
		a.tls.ClientCAs, a.tls.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
		if !a.tls.ClientCAs.AppendCertsFromPEM(pem) {
			return a, fmt.Errorf("api.client_ca: %s holds no certificate in PEM", cfg.ClientCA)
		}
	}
	return a, nil
}

// readSecret reads a file that not everybody may read.
func readSecret(key, path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	if st.Mode().Perm()&0o007 != 0 {
		return nil, fmt.Errorf("%s: every user of this host may use %s, whose mode is %04o; \"chmod 0600 %s\" helps", key, path, st.Mode().Perm(), path)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return b, nil
}

// allows reports whether a request shows the token, if one is asked for. It takes the same
// time for every wrong one.
func (a *access) allows(r *http.Request) bool {
	if a.token == nil {
		return true
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	digest := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(digest[:], a.token[:]) == 1 && strings.EqualFold(scheme, "Bearer")
}

// admit lets requests with the right pass to next. Of the others one in ten seconds is
// logged, and all are counted.
func (d *Director) admit(a *access, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.allows(r) {
			next.ServeHTTP(w, r)
			return
		}
		d.outside.refused.Add(1)
		if now, told := time.Now().Unix(), d.outside.told.Load(); now-told >= int64(faultPause/time.Second) && d.outside.told.CompareAndSwap(told, now) {
			d.log.Warn("api request refused", "client", r.RemoteAddr, "refused", d.outside.refused.Load())
		}
		w.Header().Set("WWW-Authenticate", "Bearer")
		fail(w, http.StatusUnauthorized, errors.New("the request does not show the director's token (Authorization: Bearer; of dirigo's commands: DIRIGO_TOKEN)"))
	})
}

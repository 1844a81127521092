package probe

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// healthServer is a gRPC server by hand, over net/http's HTTP/2: the messages as
// health.proto's compiler makes them.
func healthServer(w http.ResponseWriter, r *http.Request) {
	m, err := io.ReadAll(r.Body)
	if err != nil || r.Method != "POST" || r.URL.Path != "/grpc.health.v1.Health/Check" || r.Header.Get("Content-Type") != "application/grpc" ||
		r.Header.Get("Te") != "trailers" || len(m) < 5 || m[0] != 0 || int(binary.BigEndian.Uint32(m[1:])) != len(m)-5 {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status, Grpc-Message")
	answers := map[string]string{
		"": "\x08\x01", "\x0a\x02up": "\x08\x01", "\x0a\x04down": "\x08\x02", "\x0a\x05never": "", "\x0a\x05later": "\x12\x01x\x08\x01",
	}
	switch said, ok := answers[string(m[5:])]; {
	case string(m[5:]) == "\x0a\x03bad":
		w.Write([]byte("\x00\x00\x00\x00\x05\x08\x01"))
		w.Header().Set("Grpc-Status", "0")
	case string(m[5:]) == "\x0a\x04page":
		w.Write([]byte("hello"))
	case ok:
		w.Write(append([]byte{0, 0, 0, 0, byte(len(said))}, said...))
		w.Header().Set("Grpc-Status", "0")
	case string(m[5:]) == "\x0a\x05error":
		w.Header().Set("Grpc-Status", "13")
		w.Header().Set("Grpc-Message", "oh no")
	default: // without a message: the status stands in the header
		w.Header().Del("Trailer")
		w.Header().Set("Grpc-Status", "5")
	}
}

func TestGRPC(t *testing.T) {
	noLeaks(t)
	plain := httptest.NewUnstartedServer(http.HandlerFunc(healthServer))
	plain.Config.Protocols = new(http.Protocols)
	plain.Config.Protocols.SetUnencryptedHTTP2(true)
	plain.Config.Protocols.SetHTTP1(true)
	plain.Start()
	defer plain.Close()
	secret := httptest.NewUnstartedServer(http.HandlerFunc(healthServer))
	secret.EnableHTTP2 = true
	secret.TLS = &tls.Config{Certificates: []tls.Certificate{certificate(t, time.Now().Add(time.Hour))}}
	secret.StartTLS()
	defer secret.Close()
	old := httptest.NewUnstartedServer(http.HandlerFunc(healthServer)) // no HTTP/2
	old.Config.ErrorLog = log.New(io.Discard, "", 0)
	old.StartTLS()
	defer old.Close()
	at := func(s *httptest.Server) netip.AddrPort { return netip.MustParseAddrPort(s.Listener.Addr().String()) }
	with := func(service string, mode conf.TLSMode) conf.Probe {
		return conf.Probe{Type: conf.ProbeGRPC, Path: service, TLS: conf.TLS{Mode: mode}}
	}
	for _, c := range []asked{
		{"server", with("", conf.TLSOff), at(plain), ""},
		{"service", with("up", conf.TLSOff), at(plain), ""},
		{"TLS", with("up", conf.TLSOn), at(secret), ""},
		{"another field first", with("later", conf.TLSOff), at(plain), ""},
		{"not serving", with("down", conf.TLSOff), at(plain), health.WhyStatus},
		{"unknown status", with("never", conf.TLSOff), at(plain), health.WhyStatus},
		{"no such service", with("none", conf.TLSOff), at(plain), health.WhyStatus},
		{"error", with("error", conf.TLSOff), at(plain), health.WhyStatus},
		{"bad message", with("bad", conf.TLSOff), at(plain), health.WhyProtocol},
		{"no gRPC", with("page", conf.TLSOff), at(plain), health.WhyProtocol},
		{"no HTTP/2", with("", conf.TLSOn), at(old), health.WhyTLS},
	} {
		if r := ask(t, c.probe, c.at, enough); r.Why != c.want {
			t.Errorf("%s: got %q: %s; want %q", c.name, r.Why, r.Text, c.want)
		}
	}
}

package conf

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"pgregory.net/rapid"
)

// genHealth gives a service health that is valid for it, and some servers checks of their
// own.
func genHealth(t *rapid.T, s *Service) {
	if rapid.IntRange(0, 3).Draw(t, "unchecked") == 0 {
		return
	}
	h := &Health{
		Checks:      genChecks(t, s),
		OnFailure:   rapid.SampledFrom([]OnFailure{Remove, Quiesce}).Draw(t, "on failure"),
		Connections: rapid.SampledFrom([]LiveConnections{KeepConnections, ResetConnections}).Draw(t, "connections"),
		Templates:   rapid.SampledFrom([]LiveConnections{KeepConnections, ResetConnections}).Draw(t, "templates"),
		SlowStart:   genSpan(t, 0, maxSpan),
		Quorum:      rapid.SampledFrom([]int{1, 2, 1<<31 - 1}).Draw(t, "quorum"),
	}
	h.Hysteresis = rapid.IntRange(0, min(3, h.Quorum-1)).Draw(t, "hysteresis")
	if rapid.Bool().Draw(t, "flap") {
		h.Flap = Flap{rapid.IntRange(2, maxInRow).Draw(t, "changes"), genSpan(t, time.Second, maxSpan), genSpan(t, time.Second, maxSpan)}
	}
	if len(h.Checks) > 0 && rapid.Bool().Draw(t, "passive") {
		h.Passive = Passive{rapid.IntRange(1, 100).Draw(t, "percent"), rapid.SampledFrom([]int{1, DefaultPassiveMin}).Draw(t, "min"), genSpan(t, time.Second, maxSpan)}
	}
	if rapid.Bool().Draw(t, "sorry") {
		sorry := Server{Addr: netip.MustParseAddr("192.0.2.250"), Port: s.Key.Port, Forward: Tunnel, Weight: 1}
		if !s.Key.V6Service() {
			sorry.Forward = rapid.SampledFrom([]Forward{NAT, Local}).Draw(t, "sorry forward")
		}
		h.Sorry, h.SorryKeep = &sorry, rapid.Bool().Draw(t, "keep")
	}
	h.Notify = genNotify(t)
	s.Health = h
	for i := range s.Servers {
		if rapid.IntRange(0, 3).Draw(t, "own") == 0 {
			s.Servers[i].Checks = genChecks(t, s)
		}
	}
	for i := range s.Servers {
		d := &s.Servers[i]
		checks := d.Checks
		if checks == nil {
			checks = h.Checks
		}
		if slices.ContainsFunc(checks, func(c HealthCheck) bool { return c.Probe.Via == ViaService }) && d.Forward == Local {
			d.Forward = DR
		}
	}
}

// genSpan draws a time in whole milliseconds.
func genSpan(t *rapid.T, lo, hi time.Duration) time.Duration {
	some := rapid.SampledFrom([]time.Duration{lo, time.Second, 1500 * time.Millisecond, 90 * time.Second, 5 * time.Minute, hi})
	any := rapid.Map(rapid.Int64Range(int64(lo/time.Millisecond), int64(hi/time.Millisecond)), func(n int64) time.Duration { return time.Duration(n) * time.Millisecond })
	return min(hi, max(lo, rapid.OneOf(some, any).Draw(t, "span")))
}

func genNotify(t *rapid.T) (n Notify) {
	for _, c := range n.commands() {
		*c.at = rapid.SampledFrom([]string{"", "", "/usr/local/bin/told", "/bin/a b\x00c \"d\"\x00"}).Draw(t, c.key)
	}
	n.Webhook = rapid.SampledFrom([]string{"", "https://hooks.example.org/a?b=c"}).Draw(t, "webhook")
	if rapid.Bool().Draw(t, "mail") {
		n.Mail = rapid.SampledFrom([][]string{{"a@example.org"}, {"a@example.org", "b@example.org"}}).Draw(t, "to")
		n.MailFrom = rapid.SampledFrom([]string{DefaultMailFrom, "lb@example.org"}).Draw(t, "from")
		n.MailServer = rapid.SampledFrom([]string{DefaultMailServer, "mail.example.org:587", "[2001:db8::25]:25"}).Draw(t, "server")
		n.MailEvery = genSpan(t, 0, maxSpan)
	}
	return n
}

func genChecks(t *rapid.T, s *Service) (checks []HealthCheck) {
	for i := range rapid.IntRange(0, 3).Draw(t, "checks") {
		c := genCheck(t, s)
		if i > 0 || rapid.Bool().Draw(t, "named") {
			c.Label = fmt.Sprintf("%s-%d", rapid.SampledFrom([]string{"page", "a \"b\""}).Draw(t, "label"), i)
		}
		checks = append(checks, c)
	}
	return checks
}

func genCheck(t *rapid.T, s *Service) HealthCheck {
	c := HealthCheck{
		Probe:    genProbe(t),
		Interval: genSpan(t, minInterval, maxSpan),
		Jitter:   rapid.IntRange(0, maxJitter).Draw(t, "jitter"),
		Rise:     rapid.IntRange(1, maxInRow).Draw(t, "rise"),
		Alpha:    rapid.Bool().Draw(t, "alpha"),
	}
	c.RetryDelay, c.Warmup = genSpan(t, 0, maxSpan), genSpan(t, 0, maxSpan)
	c.Probe.Timeout = genSpan(t, minTimeout, c.Interval)
	if rapid.Bool().Draw(t, "window") {
		c.Window.Of = rapid.IntRange(1, maxWindow).Draw(t, "of")
		c.Window.Bad = rapid.IntRange(1, c.Window.Of).Draw(t, "bad")
	} else {
		c.Fall = rapid.IntRange(1, maxInRow).Draw(t, "fall")
	}
	p := &c.Probe
	if slices.Contains(portless, p.Type) {
		return c
	}
	p.Port = rapid.SampledFrom([]uint16{0, 8080}).Draw(t, "port")
	if s.Key.Fwmark == 0 && s.Key.Proto == p.proto() && rapid.Bool().Draw(t, "via") {
		p.Via, p.Addr, p.Connection = ViaService, netip.Addr{}, ""
		if s.Key.Port != 0 {
			p.Port = 0
		} else {
			p.Port = 443
		}
	} else if s.Key.Fwmark != 0 || s.Key.Port == 0 {
		p.Port = 8080
	}
	return c
}

// probeTexts are values of each key of probes, the first of them none or the default.
var probeTexts = map[string][]string{
	"send": {"", "QUIT\r\n", "\x00\xff'\\\"ü"}, "expect": {"", `^\+OK .*\x00`}, "service": {"", "grpc.health"},
	"method": {"GET", "OPTIONS"}, "host": {"", "www.example.org:8080"}, "helo": {"", "lb"}, "status": {"", "200", "200-299,301"},
	"body": {"", "(?i)\"ok\"\n'"}, "digest": {"", "0123456789abcdef0123456789abcdef"}, "version": {"", "1.0", "2"}, "connection": {"", "kept"},
	"record": {"", "AAAA", "TYPE65280"}, "base": {"", "dc=example,dc=org"}, "uri": {"", "sip:a@example.org"},
	"transport": {"", "tcp"}, "answer": {"", "^192\\."}, "user": {"", "probe \\ \"x\""}, "password": {"", "s3 cret\"'"},
	"password_file": {"", "/etc/dirigo/a b"}, "secret": {"x"}, "secret_file": {""}, "database": {"", "shop"},
	"command": {"/bin/true", "/bin/echo\x00a b\x00\x00\"c\""},
}

func genProbe(t *rapid.T) Probe {
	p := Probe{Type: rapid.SampledFrom(probeTypes).Draw(t, "type")}
	for _, k := range probeKeys {
		if !slices.Contains(k.types, p.Type) {
			continue
		}
		values := probeTexts[k.name]
		switch {
		case k.name == "query" && p.Type == ProbeDNS:
			values = []string{"", ".", "www.example.org"}
		case k.name == "query":
			values = []string{"", "select 1\n-- 'x'"}
		case k.name == "path" && p.Type == ProbeFile:
			values = []string{"/run/a b"}
		case k.name == "path":
			values = []string{"/", "/a?b=\"c\"", "http://www.example.org/"}
		}
		*k.at(&p) = rapid.SampledFrom(values).Draw(t, k.name)
	}
	if p.PasswordFile != "" {
		p.Password = ""
	}
	if p.User == "" {
		p.PasswordFile, p.Database = "", ""
		if p.Type != ProbeRedis {
			p.Password = ""
		}
		if slices.Contains(sqlTypes, p.Type) {
			p.Query = ""
		}
	}
	if p.Type == ProbeUDP && p.Send == "" {
		p.Expect = ""
	}
	if p.HTTP != "" {
		p.Connection = ""
	}
	p.Dynamic = p.Type == ProbeScript && rapid.Bool().Draw(t, "dynamic")
	if p.Type == ProbePing || !slices.Contains(portless, p.Type) {
		p.Addr = rapid.SampledFrom([]netip.Addr{{}, netip.MustParseAddr("192.0.2.200"), netip.MustParseAddr("2001:db8::200")}).Draw(t, "address")
	}
	p.TLS = genTLS(t, p.Type)
	return p
}

func genTLS(t *rapid.T, typ ProbeType) (s TLS) {
	switch {
	case typ == ProbeHTTPS:
		s.Mode = TLSOn
	case !slices.Contains(tlsTypes, typ) || rapid.Bool().Draw(t, "plain"):
		return s
	case slices.Contains(startTypes, typ):
		s.Mode = rapid.SampledFrom([]TLSMode{TLSOn, TLSStartTLS}).Draw(t, "mode")
	default:
		s.Mode = TLSOn
	}
	if s.Verify = rapid.Bool().Draw(t, "verify"); s.Verify {
		s.CA = rapid.SampledFrom([]string{"", "/etc/ssl/ca.pem"}).Draw(t, "ca")
	}
	if rapid.Bool().Draw(t, "certificate") {
		s.Cert, s.Key = "/etc/ssl/cert.pem", "/etc/ssl/key.pem"
	}
	s.Name = rapid.SampledFrom([]string{"", "www.example.org"}).Draw(t, "name")
	s.Warn = genSeconds(t, 0, 1000)
	return s
}

package conf

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/packet"
)

const (
	maxChecks   = 16 // of one server
	minInterval = 100 * time.Millisecond
	minTimeout  = 10 * time.Millisecond
	maxSpan     = 24 * time.Hour
	maxJitter   = 50
	maxInRow    = 100
	maxWindow   = 1000
	maxWarn     = 10 * 365 * 24 * time.Hour
)

// span notes a time out of bounds, or finer than a millisecond.
func (p *problems) span(path string, d, lo, hi time.Duration) {
	if d < lo || d > hi || d%time.Millisecond != 0 {
		p.add(path, "is %v; write a time from %s to %s, in whole milliseconds", d, durationText(lo), durationText(hi))
	}
}

// checkChecks notes every rule that the checks of a service, or of one of its servers,
// break. Their list is at path.
func (p *problems) checkChecks(path string, checks []HealthCheck, key ServiceKey) {
	if len(checks) > maxChecks {
		p.add(path, "are %d; write at most %d", len(checks), maxChecks)
		return
	}
	labels := make(map[string]int)
	for i := range checks {
		c, path := &checks[i], at(path, i)
		p.checkName(path, c.Label)
		if first, twice := labels[c.label()]; twice && c.Probe.Type != "" {
			p.add(join(path, "name"), "%q is already what %s is called; write a name of its own", c.label(), at("check", first))
		} else {
			labels[c.label()] = i
		}
		p.checkPolicy(path, c)
		if !slices.Contains(probeTypes, c.Probe.Type) {
			p.add(join(path, "type"), "%q is not a type of check; %s", c.Probe.Type, oneOf(words(probeTypes)))
			continue
		}
		p.checkProbe(path, &c.Probe)
		if c.Probe.Via != ViaServer {
			p.checkVia(path, &c.Probe, key)
		}
	}
}

// checkPolicy judges how often is asked and how many answers are believed.
func (p *problems) checkPolicy(path string, c *HealthCheck) {
	interval, timeout := join(path, "interval"), join(path, "timeout")
	p.span(interval, c.Interval, minInterval, maxSpan)
	p.span(timeout, c.Probe.Timeout, minTimeout, maxSpan)
	if c.Probe.Timeout > c.Interval && !p.seen[interval] {
		p.add(timeout, "is %s, longer than the interval, %s, so a probe would not be over when the next is due; write at most that, or a longer interval",
			durationText(c.Probe.Timeout), durationText(c.Interval))
	}
	p.span(join(path, "retry_delay"), c.RetryDelay, 0, maxSpan)
	p.between(join(path, "jitter"), c.Jitter, 0, maxJitter)
	p.between(join(path, "rise"), c.Rise, 1, maxInRow)
	w := c.Window
	switch {
	case w == Window{}:
		p.between(join(path, "fall"), c.Fall, 1, maxInRow)
	case w.Of < 1 || w.Of > maxWindow || w.Bad < 1 || w.Bad > w.Of:
		p.add(join(path, "window"), "is %q; write bad answers among the last ones, from \"1 of 1\" to \"%d of %[2]d\"", w, maxWindow)
	case c.Fall != 0:
		p.add(join(path, "fall"), "stands beside window; bad answers are counted either in a row (fall) or among the last ones (window)")
	}
	p.span(join(path, "warmup"), c.Warmup, 0, maxSpan)
}

// checkProbe judges the question by itself.
func (p *problems) checkProbe(path string, probe *Probe) {
	if ways.word(probe.Via) == "" {
		p.add(join(path, "via"), "is way %d; %s", probe.Via, oneOf(ways.words()))
	}
	keys := probe.Type.keys()
	foreign := func(key string, set bool) bool {
		if set && !slices.Contains(keys, key) {
			p.add(join(path, key), "is not for type = %q; it is a key of %s", probe.Type, strings.Join(havingKey(key), ", "))
			return true
		}
		return false
	}
	if why := unusable(probe.Addr); probe.Addr.IsValid() && !foreign("address", true) && why != "" {
		p.add(join(path, "address"), "%v %s; write the address that is to be asked", probe.Addr, why)
	}
	foreign("port", probe.Port != 0)
	foreign("via", probe.Via != ViaServer)
	foreign("dynamic", probe.Dynamic)
	used := make(map[*string]bool)
	for i := range probeKeys {
		k := &probeKeys[i]
		if !slices.Contains(k.types, probe.Type) {
			continue
		}
		used[k.at(probe)] = true
		switch s := *k.at(probe); {
		case len(s) > maxText:
			p.add(join(path, k.name), "has %d bytes; write at most %d", len(s), maxText)
		case s != "":
			if wrong := k.form.wrong(s); wrong != "" {
				p.add(join(path, k.name), "%s", wrong)
			}
		}
	}
	for i := range probeKeys {
		if k := &probeKeys[i]; !used[k.at(probe)] {
			used[k.at(probe)] = foreign(k.name, *k.at(probe) != "") // a field has one name in words
		}
	}
	p.checkNeeds(path, probe)
	p.checkTLS(join(path, "tls"), probe)
}

// checkNeeds notes what is missing beside what is said.
func (p *problems) checkNeeds(path string, probe *Probe) {
	need := func(key, example string, missing bool) {
		if missing {
			p.add(join(path, key), "is missing; write one like %s", example)
		}
	}
	idle := func(key, without string, set bool) {
		if set {
			p.add(join(path, key), "has no effect without %s; write that too, or remove it", without)
		}
	}
	twice := func(key string, a, b string) {
		if a != "" && b != "" {
			p.add(join(path, key), "stands beside %s; write one of them", key+"_file")
		}
	}
	twice("password", probe.Password, probe.PasswordFile)
	twice("secret", probe.Secret, probe.SecretFile)
	if t := probe.Type; probe.User == "" && t != ProbeRedis { // which knows a password alone
		idle("password", "user", probe.Password != "")
		idle("password_file", "user", probe.PasswordFile != "")
		idle("database", "user", probe.Database != "" && slices.Contains(sqlTypes, t))
		idle("query", "user", probe.Query != "" && slices.Contains(sqlTypes, t))
	}
	switch probe.Type {
	case ProbeHTTP, ProbeHTTPS:
		need("path", `"/"`, probe.Path == "")
		need("method", `"GET"`, probe.Method == "")
		if probe.Method == "HEAD" && (probe.Body != "" || probe.Digest != "") {
			p.add(join(path, "method"), "is HEAD, whose answers have no body, and body or digest is expected; write GET, or remove those")
		}
		if probe.Connection == "kept" && (probe.Via != ViaServer || probe.HTTP != "" && probe.HTTP != "1.1") {
			p.add(join(path, "connection"), "is \"kept\", which is for HTTP 1.1 straight to the server; remove it, or version and via")
		}
	case ProbeFile:
		need("path", `"/run/dirigo/web-1"`, probe.Path == "")
	case ProbeScript, ProbeExternal:
		need("command", `["/usr/local/bin/probe", "-v"]`, probe.Command == "")
	case ProbeRADIUS:
		need("secret", `"s3cret", or secret_file`, probe.Secret == "" && probe.SecretFile == "")
	case ProbeUDP:
		idle("expect", "send", probe.Expect != "" && probe.Send == "")
	case ProbeSIP:
		if probe.Transport == "udp" && probe.TLS.Mode != TLSOff {
			p.add(join(path, "transport"), "is udp, and tls goes by tcp; remove one of them")
		}
	}
}

func (p *problems) checkTLS(path string, probe *Probe) {
	t := &probe.TLS
	if *t == (TLS{}) && probe.Type != ProbeHTTPS {
		return
	}
	if !slices.Contains(tlsTypes, probe.Type) {
		p.add(path, "is not for type = %q; it is a key of %s", probe.Type, strings.Join(havingKey("tls"), ", "))
		return
	}
	mode := join(path, "mode")
	switch {
	case tlsModes.word(t.Mode) == "":
		p.add(mode, "is mode %d; %s", t.Mode, oneOf(tlsModes.words()))
	case probe.Type == ProbeHTTPS && t.Mode != TLSOn:
		p.add(mode, "is %q, and https begins with TLS; write type = \"http\", or remove it", tlsModes.word(t.Mode))
	case t.Mode == TLSStartTLS && !slices.Contains(startTypes, probe.Type):
		p.add(mode, "starttls is not for type = %q; %s", probe.Type, oneOf(words(startTypes)))
	case t.Mode == TLSOff:
		p.add(path, "says how to encrypt, and its mode is off; write mode = \"on\", or remove the table")
	}
	for _, f := range []struct{ key, file string }{{"ca", t.CA}, {"cert", t.Cert}, {"key", t.Key}} {
		if f.file != "" {
			if wrong := fileForm.wrong(f.file); wrong != "" {
				p.add(join(path, f.key), "%s", wrong)
			}
		}
	}
	if t.CA != "" && !t.Verify {
		p.add(join(path, "ca"), "has no effect without verify = true; write that too, or remove it")
	}
	if (t.Cert == "") != (t.Key == "") {
		p.add(path, "has one of cert and key; write both, they are one certificate")
	}
	if t.Name != "" && (!printable(t.Name) || strings.ContainsAny(t.Name, " /:") || len(t.Name) > 253) {
		if _, err := netip.ParseAddr(t.Name); err != nil {
			p.add(join(path, "server_name"), `%q is not the name of a server; write one like "www.example.org"`, t.Name)
		}
	}
	if warn := join(path, "expiry_warning"); t.Warn%time.Second != 0 || t.Warn < 0 || t.Warn > maxWarn {
		p.add(warn, "is %v; write whole seconds from 0 to %s", t.Warn, durationText(maxWarn))
	}
}

// checkVia judges a probe that goes as clients' packets do: to the VIP, by a socket of the
// director, so that only what the service takes gets there.
func (p *problems) checkVia(path string, probe *Probe, key ServiceKey) {
	via := join(path, "via")
	if slices.Contains(portless, probe.Type) {
		return // refused already
	}
	if probe.Addr.IsValid() {
		p.add(join(path, "address"), "has no meaning with via = \"service\", which asks the service's address; remove one of them")
	}
	proto := serviceProtocols.word(probe.proto())
	switch {
	case key.Fwmark != 0:
		p.add(via, "\"service\" asks the service's address, and a fwmark service has none; write \"server\"")
	case key.Proto == packet.SCTP:
		p.add(via, "\"service\" is not for SCTP services; write \"server\"")
	case serviceProtocols.word(key.Proto) == "":
		// told at listen
	case key.Proto != probe.proto():
		p.add(via, "\"service\" asks as clients do, by %s, and type = %q asks by %s; write \"server\"", serviceProtocols.word(key.Proto), probe.Type, proto)
	case key.Port == 0 && probe.Port == 0:
		p.add(join(path, "port"), "is missing; with via = \"service\" a service for all ports needs to know which one is asked")
	case key.Port != 0 && probe.Port != 0 && probe.Port != key.Port:
		p.add(join(path, "port"), "is %d, and via = \"service\" asks the service's, %d; remove it", probe.Port, key.Port)
	}
}

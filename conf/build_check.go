package conf

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// What a check is unless it says otherwise. keepalived asks every 60 s and believes the
// second bad answer and the first good one; ldirectord asks every 10 s and believes the
// first of either.
const (
	DefaultInterval   = 5 * time.Second
	DefaultRetryDelay = time.Second // keepalived's delay_before_retry of most checkers
	DefaultJitter     = 10          // percent
	DefaultRise       = 2
	DefaultFall       = 3
	maxWarmup         = 5 * time.Second // of the default
)

// defaultTimeout is long enough for one lost packet where a question is one or two of them,
// and for a server that is busy where it has to work for its answer. A UDP probe hears of a
// host that is gone only after the kernel's three attempts to find it.
func defaultTimeout(t ProbeType, interval time.Duration) time.Duration {
	switch t {
	case ProbePing, ProbeTCP, ProbeDNS, ProbeFile, ProbeNone:
		return min(2*time.Second, interval)
	}
	return min(4*time.Second, interval)
}

// serviceChecks are those of a service, over the file's defaults.
func (p *problems) serviceChecks(raw []rawCheck, defaults openTable) (checks []HealthCheck) {
	for i := range raw {
		checks = append(checks, p.check(&raw[i], nil, defaults))
	}
	return checks
}

// serverChecks are those of a server. One that does not say its type starts from the
// service's of the same name.
func (p *problems) serverChecks(raw, service []rawCheck, defaults openTable) (checks []HealthCheck) {
	for i := range raw {
		r := &raw[i]
		var base openTable
		if !r.Keys["type"].written {
			for _, s := range service {
				if s.name() == r.name() {
					base = s.Keys
				}
			}
			if base == nil && r.Keys != nil {
				p.add(join(r.At, "type"), "is missing, and the service has no check of the same name to start from; %s", oneOf(words(probeTypes)))
			}
		}
		checks = append(checks, p.check(r, base, defaults))
	}
	return checks
}

// check reads one check over the one it starts from, if any, and over the defaults.
func (p *problems) check(raw *rawCheck, base, defaults openTable) (c HealthCheck) {
	p.toldIn("check", raw.At, policyKeys)
	keys := p.overCheck(raw.Keys, p.overCheck(base, defaults))
	get := func(key string) value { return keys.get(raw.At, key) }
	c.Probe.Type = p.probeType(get("type"))
	c.Label = p.text(get("name"), "")
	p.policy(&c, keys, raw.At)
	if c.Probe.Type != "" {
		p.checkKeys(raw.Keys, c.Probe.Type)
		p.probe(&c.Probe, keys, raw.At)
	}
	return c
}

// overCheck lays a check over another. Of window and fall, which exclude each other, the
// upper one's counts.
func (p *problems) overCheck(t, base openTable) openTable {
	all := p.over(t, base)
	_, fall := t["fall"]
	_, window := t["window"]
	if fall && !window {
		delete(all, "window")
	}
	if window && !fall {
		delete(all, "fall")
	}
	return all
}

func (p *problems) probeType(v value) ProbeType {
	word := p.text(v, "")
	lower := strings.ToLower(word)
	other := spokenTypes[lower]
	if lower != word && slices.Contains(probeTypes, ProbeType(lower)) {
		other = ProbeType(lower)
	}
	switch {
	case !v.written:
		p.add(v.path, "is missing; %s", oneOf(words(probeTypes)))
	case p.seen[v.path]:
	case other != "":
		p.add(v.path, "%q is not a type of check; did you mean %q?", word, other)
	case !slices.Contains(probeTypes, ProbeType(word)):
		p.add(v.path, "%q is not a type of check; %s", word, oneOf(words(probeTypes)))
	default:
		return ProbeType(word)
	}
	return ""
}

func words[T ~string](list []T) (words []string) {
	for _, w := range list {
		words = append(words, string(w))
	}
	return words
}

// checkKeys refuses keys that checks of this type do not have.
func (p *problems) checkKeys(t openTable, typ ProbeType) {
	known := typ.keys()
	for key, v := range t {
		if slices.Contains(known, key) {
			continue
		}
		if others := havingKey(key); others != nil {
			p.add(v.path, "is not for type = %q; it is a key of %s", typ, strings.Join(others, ", "))
		} else {
			p.add(v.path, "is not a key of a %s check; %s", typ, suggest(key, known))
		}
	}
}

// policy reads how often is asked and how many answers are believed.
func (p *problems) policy(c *HealthCheck, keys openTable, path string) {
	get := func(key string) value { return keys.get(path, key) }
	c.Interval = p.duration(get("interval"), DefaultInterval)
	c.RetryDelay = p.duration(get("retry_delay"), min(DefaultRetryDelay, c.Interval))
	c.Probe.Timeout = p.duration(get("timeout"), defaultTimeout(c.Probe.Type, c.Interval))
	c.Jitter = p.whole(get("jitter"), DefaultJitter)
	c.Rise = p.whole(get("rise"), DefaultRise)
	c.Alpha = p.flag(get("alpha"), false)
	c.Warmup = p.duration(get("warmup"), min(maxWarmup, c.Interval))
	window, fall := get("window"), get("fall")
	switch {
	case !window.written:
		c.Fall = p.whole(fall, DefaultFall)
	case fall.written:
		p.add(fall.path, "stands beside window; bad answers are counted either in a row (fall) or among the last ones (window)")
		fallthrough
	default:
		c.Window = p.window(window)
	}
}

var windowText = regexp.MustCompile(`^([0-9]{1,4}) of ([0-9]{1,4})$`)

// window reads "7 of 10".
func (p *problems) window(v value) (w Window) {
	m := windowText.FindStringSubmatch(p.text(v, ""))
	if m == nil {
		p.add(v.path, `is %s; write bad answers among the last ones, like "7 of 10"`, kindOf(v.v))
		return Window{1, 1}
	}
	w.Bad, _ = strconv.Atoi(m[1])
	w.Of, _ = strconv.Atoi(m[2])
	return w
}

func (w Window) String() string { return fmt.Sprintf("%d of %d", w.Bad, w.Of) }

// probe reads what is asked, of whom and by which way.
func (p *problems) probe(probe *Probe, keys openTable, path string) {
	get := func(key string) value { return keys.get(path, key) }
	probe.Via = choice(p, get("via"), ViaServer, "a way", ways)
	probe.Addr = p.addr(get("address"))
	if v := get("port"); v.written {
		n := p.whole(v, 0)
		if n < 1 || n > 65535 {
			p.add(v.path, "is %s; write a port from 1 to 65535", kindOf(v.v))
			n = 0
		}
		probe.Port = uint16(n)
	}
	for i := range probeKeys {
		k := &probeKeys[i]
		if !slices.Contains(k.types, probe.Type) {
			continue
		}
		v := get(k.name)
		if !v.written {
			*k.at(probe) = k.def
			continue
		}
		if s := k.form.text(p, v); s != "" {
			*k.at(probe) = s
		} else {
			*k.at(probe) = k.def
		}
	}
	probe.Dynamic = p.flag(get("dynamic"), false)
	probe.TLS = p.tls(get("tls"), probe.Type)
}

var tlsKeys = []string{"mode", "verify", "ca", "cert", "key", "server_name", "expiry_warning"}

// tls reads how a probe encrypts: https always does, others if they have the table.
func (p *problems) tls(v value, typ ProbeType) (t TLS) {
	if typ == ProbeHTTPS {
		t.Mode = TLSOn
	}
	keys := p.open(v)
	if keys == nil {
		return t
	}
	p.known(keys, tlsKeys)
	get := func(key string) value { return keys.get(v.path, key) }
	t.Mode = choice(p, get("mode"), TLSOn, "a beginning of TLS", tlsModes)
	t.Verify = p.flag(get("verify"), false)
	t.CA = p.text(get("ca"), "")
	t.Cert = p.text(get("cert"), "")
	t.Key = p.text(get("key"), "")
	t.Name = p.text(get("server_name"), "")
	t.Warn = p.duration(get("expiry_warning"), 0)
	return t
}

package conf

import (
	"net/netip"
	"path/filepath"
	"strings"
)

// Metrics is the listener that Prometheus and health checks of the host ask.
type Metrics struct {
	Listen      netip.AddrPort // invalid: none
	AllowRemote bool           // the address may be other than a loopback one
}

// API is the control API on the network, beside its socket. Who speaks there shows the
// token, or a certificate, or both if both are set.
type API struct {
	Listen    netip.AddrPort // invalid: none
	TokenFile string         // holds the token; "" for none
	ClientCA  string         // PEM file of the authorities of client certificates; "" for none
	Cert, Key string         // PEM files of the director's own certificate; "": plain HTTP, on loopback only
}

type rawMetrics struct {
	Listen      value `toml:"listen"`
	AllowRemote value `toml:"allow_remote"`
}

type rawAPI struct {
	Listen    value `toml:"listen"`
	TokenFile value `toml:"token_file"`
	ClientCA  value `toml:"client_ca"`
	Cert      value `toml:"cert"`
	Key       value `toml:"key"`
}

func (p *problems) metrics(m *Metrics, raw *rawMetrics) {
	m.Listen = p.listener(raw.Listen)
	m.AllowRemote = p.flag(raw.AllowRemote, false)
}

func (p *problems) api(a *API, raw *rawAPI) {
	a.Listen = p.listener(raw.Listen)
	a.TokenFile = p.text(raw.TokenFile, "")
	a.ClientCA = p.text(raw.ClientCA, "")
	a.Cert = p.text(raw.Cert, "")
	a.Key = p.text(raw.Key, "")
}

// listener reads an address of this host with a port, "" for none. A name is not taken:
// what it means, and so who can reach the listener, may change.
func (p *problems) listener(v value) (a netip.AddrPort) {
	s := p.text(v, "")
	if s == "" || p.seen[v.path] {
		return a
	}
	a, err := netip.ParseAddrPort(s)
	if err != nil || a.Addr().Zone() != "" || a.Addr().Is4In6() {
		p.add(v.path, `%q is not an address with a port; write one like "127.0.0.1:9273" or "[::1]:9273"`, s)
		return netip.AddrPort{}
	}
	return a
}

func (p *problems) checkListeners(cfg *Config) {
	if m := &cfg.Metrics; m.Listen.IsValid() {
		p.checkListener("metrics.listen", m.Listen)
		if !m.Listen.Addr().IsLoopback() && !m.AllowRemote {
			p.add("metrics.listen", "%v can be reached from other hosts, and whoever reaches it reads every figure; write a loopback address like \"127.0.0.1:%d\", or allow_remote = true if this is meant", m.Listen, m.Listen.Port())
		}
	}
	p.checkAPI(&cfg.API)
	if m, a := cfg.Metrics.Listen, cfg.API.Listen; m.IsValid() && m == a {
		p.add("api.listen", "%v is the address of [metrics]; write another port", a)
	}
}

func (p *problems) checkListener(path string, a netip.AddrPort) {
	switch {
	case a.Port() == 0:
		p.add(path, "%v has port 0; write a port from 1 to 65535", a)
	case a.Addr().IsMulticast() || a.Addr() == allOnes:
		p.add(path, "%v is no address of one machine", a.Addr())
	}
}

// checkAPI sees to it that nobody commands the director who does not show that he may,
// and that no token passes a wire in clear.
func (p *problems) checkAPI(a *API) {
	files := []struct{ key, path string }{{"token_file", a.TokenFile}, {"client_ca", a.ClientCA}, {"cert", a.Cert}, {"key", a.Key}}
	for _, f := range files {
		switch {
		case f.path == "":
		case !a.Listen.IsValid():
			if !p.seen["api.listen"] {
				p.add("api."+f.key, "has no effect without listen; write listen = \"127.0.0.1:9443\", or remove it")
			}
		case !filepath.IsAbs(f.path) || !printable(f.path):
			p.add("api."+f.key, "%q is not the path of a file; write an absolute path", f.path)
		}
	}
	if !a.Listen.IsValid() {
		return
	}
	p.checkListener("api.listen", a.Listen)
	switch {
	case p.seen["api.token_file"] || p.seen["api.client_ca"] || p.seen["api.cert"] || p.seen["api.key"]:
	case a.TokenFile == "" && a.ClientCA == "":
		p.add("api.listen", "would let everybody who reaches %v command the director; write token_file, or client_ca with cert and key", a.Listen)
	case (a.Cert == "") != (a.Key == ""):
		p.add("api", "has one of cert and key; write both, they are one certificate")
	case a.ClientCA != "" && a.Cert == "":
		p.add("api.client_ca", "needs TLS, which cert and key make; write both")
	case a.Cert == "" && !a.Listen.Addr().IsLoopback():
		p.add("api.listen", "%v without TLS would show the token to the network; write cert and key, or a loopback address", a.Listen)
	}
}

// checkGroup judges the form of a group's name; whether there is one, the host says.
func (p *problems) checkGroup(name string) {
	if strings.ContainsAny(name, ":, \t") || !printable(name) || len(name) > 32 {
		p.add("director.control_group", "%q cannot be the name of a group; write one like \"lvs\"", name)
	}
}

func listenText(a netip.AddrPort) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func (m *Metrics) pairs() (ps pairs) {
	ps.text("listen", listenText(m.Listen), "")
	ps.flag("allow_remote", m.AllowRemote, false)
	return ps
}

func (a *API) pairs() (ps pairs) {
	ps.text("listen", listenText(a.Listen), "")
	ps.text("token_file", a.TokenFile, "")
	ps.text("client_ca", a.ClientCA, "")
	ps.text("cert", a.Cert, "")
	ps.text("key", a.Key, "")
	return ps
}

// SetMetrics replaces the listener for metrics, which needs a restart.
type SetMetrics struct{ Metrics, Was Metrics }

// SetAPI replaces the control API's listener, which needs a restart.
type SetAPI struct{ API, Was API }

// Restart is of Change: a listener is bound once, so that who may speak there does not
// change under way.
func (SetMetrics) Restart() bool { return true }

// Restart is of Change, as for SetMetrics.
func (SetAPI) Restart() bool { return true }

func (c SetMetrics) String() string { return "set metrics: " + edits(c.Was.pairs(), c.Metrics.pairs()) }
func (c SetAPI) String() string     { return "set api: " + edits(c.Was.pairs(), c.API.pairs()) }

func (c SetMetrics) apply(e *Editor) error {
	e.cfg.Metrics = c.Metrics
	return nil
}

func (c SetAPI) apply(e *Editor) error {
	e.cfg.API = c.API
	return nil
}

// diffListeners are the changes of the listeners.
func diffListeners(old, new *Config) (changes []Change) {
	if old.Metrics != new.Metrics {
		changes = append(changes, SetMetrics{new.Metrics, old.Metrics})
	}
	if old.API != new.API {
		changes = append(changes, SetAPI{new.API, old.API})
	}
	return changes
}

package conf

import (
	"reflect"
	"time"
)

// What [service.health] need not say.
const (
	DefaultQuorum     = 1 // as keepalived
	DefaultMailServer = "127.0.0.1:25"
	DefaultMailFrom   = "dirigo"
	DefaultMailEvery  = time.Minute
	DefaultFlapWithin = 5 * time.Minute
	DefaultFlapHold   = 5 * time.Minute
	DefaultPassiveMin = 20
	DefaultPassiveIn  = 10 * time.Second
)

// The keys of [health], the defaults of services, and those that a service has beside.
var (
	healthDefaultKeys = []string{"on_failure", "connections", "templates", "slow_start", "flap", "passive", "notify"}
	healthKeys        = append([]string{"quorum", "hysteresis", "sorry_server"}, healthDefaultKeys...)
	flapKeys          = []string{"changes", "within", "hold"}
	passiveKeys       = []string{"percent", "min", "window"}
	notifyKeys        = []string{"up", "down", "quorum_up", "quorum_down", "any", "webhook", "mail", "mail_from", "mail_server", "mail_interval"}
)

// rawSorry is a server of last resort.
type rawSorry struct {
	At      string
	Name    value      `toml:"name"`
	Address value      `toml:"address"`
	Forward value      `toml:"forward"`
	Tunnel  *rawTunnel `toml:"tunnel"`
	Keep    value      `toml:"keep"`
}

// healthDefaults judges the file's [check] and [health] by themselves, so that a mistake
// there is told once, and without a service that uses them.
func (p *problems) healthDefaults(raw *rawConfig) {
	p.known(raw.Check, policyKeys)
	c := HealthCheck{Probe: Probe{Type: ProbeNone}}
	p.policy(&c, raw.Check, "check")
	p.checkPolicy("check", &c)
	p.known(raw.Health, healthDefaultKeys)
	h := p.healthPolicy(raw.Health, "health")
	p.checkHealthPolicy("health", h)
}

// health is what the service's and its servers' tables say of it, nil if they say nothing.
func (p *problems) health(raw *rawService, s *Service, file *rawConfig) *Health {
	said := raw.Health.written || len(raw.Check) > 0
	for i := range raw.Server {
		said = said || len(raw.Server[i].Check) > 0
	}
	if !said {
		return nil
	}
	path := join(raw.At, "health")
	p.toldIn("health", path, healthDefaultKeys)
	own := p.open(raw.Health)
	p.known(own, healthKeys)
	keys := p.over(own, file.Health)
	h := p.healthPolicy(keys, path)
	h.Quorum = p.whole(keys.get(path, "quorum"), DefaultQuorum)
	h.Hysteresis = p.whole(keys.get(path, "hysteresis"), 0)
	p.sorry(h, keys.get(path, "sorry_server"), raw, s.Key)
	h.Checks = p.serviceChecks(raw.Check, file.Check)
	for i := range raw.Server {
		s.Servers[i].Checks = p.serverChecks(raw.Server[i].Check, raw.Check, file.Check)
	}
	return h
}

// healthPolicy reads the keys that have defaults for the whole file.
func (p *problems) healthPolicy(keys openTable, path string) *Health {
	get := func(key string) value { return keys.get(path, key) }
	h := &Health{
		OnFailure:   choice(p, get("on_failure"), Remove, "a consequence", consequences),
		Connections: choice(p, get("connections"), KeepConnections, "a fate of connections", connectionFates),
		Templates:   choice(p, get("templates"), KeepConnections, "a fate of templates", templateFates),
		SlowStart:   p.duration(get("slow_start"), 0),
	}
	if flap := p.open(get("flap")); flap != nil {
		path := join(path, "flap")
		p.known(flap, flapKeys)
		h.Flap.Changes = p.whole(flap.get(path, "changes"), 0)
		if h.Flap.Changes != 0 {
			h.Flap.Within = p.duration(flap.get(path, "within"), DefaultFlapWithin)
			h.Flap.Hold = p.duration(flap.get(path, "hold"), DefaultFlapHold)
		}
	}
	if passive := p.open(get("passive")); passive != nil {
		path := join(path, "passive")
		p.known(passive, passiveKeys)
		h.Passive.Percent = p.whole(passive.get(path, "percent"), 0)
		if h.Passive.Percent != 0 {
			h.Passive.Min = p.whole(passive.get(path, "min"), DefaultPassiveMin)
			h.Passive.Window = p.duration(passive.get(path, "window"), DefaultPassiveIn)
		}
	}
	if notify := p.open(get("notify")); notify != nil {
		h.Notify = p.notify(notify, join(path, "notify"))
	}
	return h
}

func (p *problems) notify(keys openTable, path string) (n Notify) {
	p.known(keys, notifyKeys)
	get := func(key string) value { return keys.get(path, key) }
	for _, c := range n.commands() {
		if v := get(c.key); v.written {
			*c.at = argvForm.text(p, v)
		}
	}
	n.Webhook = p.text(get("webhook"), "")
	for _, v := range p.list(get("mail")) {
		n.Mail = append(n.Mail, p.text(v, ""))
	}
	from, server, every := get("mail_from"), get("mail_server"), get("mail_interval")
	n.MailFrom = p.text(from, DefaultMailFrom)
	n.MailServer = p.text(server, DefaultMailServer)
	n.MailEvery = p.duration(every, DefaultMailEvery)
	if n.Mail != nil {
		return n
	}
	if server.written {
		p.checkMailServer(server.path, n.MailServer)
	}
	n.MailFrom, n.MailServer, n.MailEvery = "", "", 0
	for _, v := range []value{from, server, every} {
		if v.written && parent(v.path) == path && path != "health.notify" { // there it is for services that have mail
			p.add(v.path, "has no effect without mail; write mail = \"admin@example.org\", or remove it")
		}
	}
	return n
}

type notifyCommand struct {
	key string
	at  *string
}

// commands are those that are run, by their keys.
func (n *Notify) commands() []notifyCommand {
	return []notifyCommand{{"up", &n.Up}, {"down", &n.Down}, {"quorum_up", &n.QuorumUp}, {"quorum_down", &n.QuorumDown}, {"any", &n.Any}}
}

// sorry reads the server of last resort, which has the service's method unless it says
// another.
func (p *problems) sorry(h *Health, v value, raw *rawService, key ServiceKey) {
	if !v.written {
		return
	}
	table, ok := p.table(v.path, v.v)
	if !ok {
		return
	}
	r := rawSorry{}
	p.fill(reflect.ValueOf(&r).Elem(), v.path, table)
	method := noMethod
	switch {
	case r.Forward.written:
		method = p.forward(r.Forward)
	case raw.Forward.written:
		method = p.forward(raw.Forward)
		if p.seen[raw.Forward.path] {
			p.settle(join(r.At, "forward"))
		}
	}
	server := p.server(&rawServer{At: r.At, Name: r.Name, Address: r.Address, Forward: r.Forward, Tunnel: r.Tunnel}, key, method)
	h.Sorry, h.SorryKeep = &server, p.flag(r.Keep, true)
}

// label is what a check is called.
func (c *HealthCheck) label() string {
	if c.Label == "" {
		return string(c.Probe.Type)
	}
	return c.Label
}

var (
	ways            = vocabulary[Via]{{"server", ViaServer}, {"service", ViaService}}
	tlsModes        = vocabulary[TLSMode]{{"off", TLSOff}, {"on", TLSOn}, {"starttls", TLSStartTLS}}
	consequences    = vocabulary[OnFailure]{{"remove", Remove}, {"quiesce", Quiesce}}
	connectionFates = vocabulary[LiveConnections]{{"keep", KeepConnections}, {"reset", ResetConnections}}
	templateFates   = vocabulary[LiveConnections]{{"keep", KeepConnections}, {"forget", ResetConnections}}
)

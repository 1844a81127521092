package conf

import (
	"os"
	"strings"
)

// warnHealth notes what is valid in the health of a service and probably not meant.
func (p *problems) warnHealth(path string, s *Service) {
	h := s.Health
	if h == nil {
		return
	}
	sum, checked := 0, len(h.Checks) > 0
	for i := range s.Servers {
		d := &s.Servers[i]
		sum += d.Weight
		checked = checked || len(d.Checks) > 0
		p.warnChecks(join(at(join(path, "server"), i), "check"), d.Checks)
	}
	p.warnChecks(join(path, "check"), h.Checks)
	health := join(path, "health")
	switch {
	case len(s.Servers) == 0:
	case !checked:
		p.add(health, "has no check, so the servers always count as up")
	case h.Quorum > sum: // keepalived takes the sum in its place
		p.add(join(health, "quorum"), "is %d, and the weights of all servers make %d: the service is never up", h.Quorum, sum)
	case h.Quorum+h.Hysteresis > sum:
		p.add(join(health, "hysteresis"), "makes the service come up at weight %d, and the weights of all servers make %d: once down, it stays down", h.Quorum+h.Hysteresis, sum)
	}
}

func (p *problems) warnChecks(path string, checks []HealthCheck) {
	for i := range checks {
		if c := &checks[i]; c.RetryDelay > c.Interval {
			p.add(join(at(path, i), "retry_delay"), "is %s, longer than the interval, %s: a server in doubt is asked less often", durationText(c.RetryDelay), durationText(c.Interval))
		}
	}
}

// MissingFiles warns of the files that checks and notifications of a valid state need and
// that are not on this host. name and data are the file the state was read from.
func MissingFiles(name string, data []byte, cfg *Config) Errors {
	lines, _ := indexLines(data)
	p := new(problems)
	for i := range cfg.Services {
		s, path := &cfg.Services[i], at("service", i)
		if s.Health == nil {
			continue
		}
		for _, c := range s.Health.Notify.commands() {
			p.missing(join(join(join(path, "health"), "notify"), c.key), *c.at, true)
		}
		p.missingOf(join(path, "check"), s.Health.Checks)
		for j := range s.Servers {
			p.missingOf(join(at(join(path, "server"), j), "check"), s.Servers[j].Checks)
		}
	}
	return p.errors(cfg, name, lines)
}

func (p *problems) missingOf(path string, checks []HealthCheck) {
	for i := range checks {
		probe, path := &checks[i].Probe, at(path, i)
		p.missing(join(path, "password_file"), probe.PasswordFile, false)
		p.missing(join(path, "secret_file"), probe.SecretFile, false)
		p.missing(join(path, "command"), probe.Command, true)
		tls := join(path, "tls")
		p.missing(join(tls, "ca"), probe.TLS.CA, false)
		p.missing(join(tls, "cert"), probe.TLS.Cert, false)
		p.missing(join(tls, "key"), probe.TLS.Key, false)
	}
}

// missing notes a file that is not there, or is none; a program is the first word of argv.
func (p *problems) missing(path, file string, program bool) {
	file, _, _ = strings.Cut(file, "\x00")
	if file == "" {
		return
	}
	info, err := os.Stat(file)
	switch {
	case err != nil:
		p.add(path, "%v", err)
	case !info.Mode().IsRegular():
		p.add(path, "%s is not a file", file)
	case program && info.Mode()&0o111 == 0:
		p.add(path, "%s cannot be executed", file)
	}
}

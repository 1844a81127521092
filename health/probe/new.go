// Package probe asks real servers whether they serve: one file for each protocol, one
// question for each attempt, over a connection of its own. It knows protocols and what a
// good answer is; it must not know how many bad ones make a server dead, nor which way
// its packets take: that is the Dialer's.
//
// What a server sends is never trusted: an answer is read into bounded memory, within the
// time of its context, and whatever cannot be understood is a bad answer with a reason.
package probe

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// An asker is one protocol's question. A nil error is a good answer; r takes what else it
// told (Warning, Weight). Every other field of r is the caller's.
type asker interface {
	ask(ctx context.Context, r *health.Result) error
}

// New makes the prober of p for the target t. It reads the files that p names
// (certificates, passwords) and compiles its expressions, so an error is one of the configuration;
// connections are made by d with each probe.
func New(p conf.Probe, t health.Target, d Dialer) (health.Prober, error) {
	var a asker
	err := readSecrets(&p)
	if err == nil {
		a, err = newAsker(p, t, d)
	}
	if err != nil {
		return nil, fmt.Errorf("%s probe of %v: %w", p.Type, t.Addr, err)
	}
	return prober{a}, nil
}

func newAsker(p conf.Probe, t health.Target, d Dialer) (asker, error) {
	to := target{dial: d, addr: t.Addr, port: t.Port}
	if to.port == 0 {
		to.port = p.StandardPort()
	}
	if p.TLS.Mode == conf.TLSStartTLS && !hasStartTLS(p.Type) {
		return nil, fmt.Errorf("tls: the protocol has no STARTTLS")
	}
	if p.Transport != "" && p.Transport != "udp" && p.Transport != "tcp" {
		return nil, fmt.Errorf("transport %q: want udp or tcp", p.Transport)
	}
	switch p.Type {
	case conf.ProbeNone:
		return none{}, nil
	case conf.ProbePing:
		return newPing(to), nil
	case conf.ProbeTCP:
		return newTCP(&p, to)
	case conf.ProbeUDP:
		return newUDP(&p, to)
	case conf.ProbeHTTP, conf.ProbeHTTPS:
		return newHTTP(&p, to)
	case conf.ProbeDNS:
		return newDNS(&p, to)
	case conf.ProbeSMTP:
		return newSMTP(&p, to)
	case conf.ProbeIMAP:
		return newIMAP(&p, to)
	case conf.ProbePOP:
		return newPOP(&p, to)
	case conf.ProbeFTP:
		return newFTP(&p, to)
	case conf.ProbeLDAP:
		return newLDAP(&p, to)
	case conf.ProbeMySQL:
		return newMySQL(&p, to)
	case conf.ProbePgSQL:
		return newPgSQL(&p, to)
	case conf.ProbeRedis:
		return newRedis(&p, to)
	case conf.ProbeRADIUS:
		return newRADIUS(&p, to)
	case conf.ProbeSIP:
		return newSIP(&p, to)
	case conf.ProbeFastCGI:
		return newFastCGI(&p, to)
	case conf.ProbeGRPC:
		return newGRPC(&p, to)
	case conf.ProbeScript:
		return newScript(&p)
	case conf.ProbeExternal:
		return newExternal(&p, t)
	case conf.ProbeFile:
		return file{p.Path}, nil
	}
	return nil, fmt.Errorf("no such type")
}

// hasStartTLS says whether a protocol can begin TLS by a command of its own. MySQL and
// PostgreSQL know no other way.
func hasStartTLS(t conf.ProbeType) bool {
	switch t {
	case conf.ProbeSMTP, conf.ProbeIMAP, conf.ProbePOP, conf.ProbeFTP, conf.ProbeLDAP, conf.ProbeMySQL, conf.ProbePgSQL:
		return true
	}
	return false
}

// prober is the one health.Prober: it times the question and turns an error into a Why.
type prober struct{ asker }

func (p prober) Probe(ctx context.Context) health.Result {
	r := health.Result{At: time.Now()}
	err := p.ask(ctx, &r)
	r.Took = time.Since(r.At)
	if err == nil {
		r.OK = true
		return r
	}
	r.Why, r.Text = reason(ctx, err)
	r.Text = health.Plain(r.Text)
	r.Warning, r.Weight, r.HasWeight = "", 0, false
	return r
}

// none is always good.
type none struct{}

func (none) ask(context.Context, *health.Result) error { return nil }

// target is where a protocol's connections go.
type target struct {
	dial Dialer
	addr netip.Addr
	port uint16
}

// sockets are those that the target can be asked with; nil: none. A link-local address
// would bind a socket to its link for good, and Local or Control are for new ones.
func (t target) sockets() *Sockets {
	if d, ok := t.dial.(Plain); ok && !d.Local.IsValid() && d.Control == nil && t.addr.Zone() == "" {
		return d.Sockets
	}
	return nil
}

func (t target) String() string { return netip.AddrPortFrom(t.addr, t.port).String() }

// expression compiles an expected answer; nil if nothing is expected.
func expression(key, re string) (*regexp.Regexp, error) {
	if re == "" {
		return nil, nil
	}
	x, err := regexp.Compile(re)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", key, err)
	}
	return x, nil
}

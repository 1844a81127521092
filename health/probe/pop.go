package probe

import (
	"context"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// pop asks a POP3 server for its greeting, and logs in if a user is named (RFC 1939).
type pop struct {
	to             target
	tls            secrecy
	user, password string
}

func newPOP(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	if err == nil {
		err = lineSafe("user or password", p.User, p.Password)
	}
	return pop{to, s, p.User, p.Password}, err
}

func (a pop) ask(ctx context.Context, r *health.Result) error {
	k, err := a.to.open(ctx, &a.tls, r)
	if err != nil {
		return err
	}
	defer k.Close()
	if err := k.popReply("greeting", health.WhyStatus); err != nil {
		return err
	}
	if a.tls.mode == conf.TLSStartTLS { // RFC 2595 section 4
		if err := k.popCommand("STLS", health.WhyStatus); err != nil {
			return err
		}
		if err := k.encrypt(ctx, &a.tls, r); err != nil {
			return err
		}
	}
	if a.user != "" {
		if err := k.popCommand("USER "+a.user, health.WhyLogin); err != nil {
			return err
		}
		if err := k.popCommand("PASS "+a.password, health.WhyLogin); err != nil {
			return err
		}
	}
	return k.popCommand("QUIT", health.WhyStatus)
}

func (k *talk) popCommand(line string, why health.Why) error {
	if err := k.say("%s", line); err != nil {
		return err
	}
	verb, _, _ := strings.Cut(line, " ")
	return k.popReply(verb, why)
}

// popReply reads "+OK" or "-ERR" and their text.
func (k *talk) popReply(what string, why health.Why) error {
	line, err := k.line()
	if err != nil {
		return err
	}
	switch word, _, _ := strings.Cut(line, " "); word {
	case "+OK":
		return nil
	case "-ERR":
		return fail(why, "%s: %s", what, quote(line))
	}
	return fail(health.WhyProtocol, "not a POP3 reply: %s", quote(line))
}

package probe

import (
	"context"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// imap asks an IMAP server for its greeting, and logs in if a user is named (RFC 9051
// sections 7.1 and 6.2.3).
type imap struct {
	to             target
	tls            secrecy
	user, password string
}

func newIMAP(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	if err == nil {
		err = lineSafe("user or password", p.User, p.Password)
	}
	return imap{to, s, p.User, p.Password}, err
}

func (a imap) ask(ctx context.Context, r *health.Result) error {
	k, err := a.to.open(ctx, &a.tls, r)
	if err != nil {
		return err
	}
	defer k.Close()
	line, err := k.line()
	if err != nil {
		return err
	}
	switch {
	case strings.HasPrefix(line, "* OK"), strings.HasPrefix(line, "* PREAUTH"):
	case strings.HasPrefix(line, "* BYE"):
		return fail(health.WhyStatus, "greeting: %s", quote(line))
	default:
		return fail(health.WhyProtocol, "not an IMAP greeting: %s", quote(line))
	}
	if a.tls.mode == conf.TLSStartTLS {
		if err := k.imapCommand("a", "STARTTLS", health.WhyStatus); err != nil {
			return err
		}
		if err := k.encrypt(ctx, &a.tls, r); err != nil {
			return err
		}
	}
	if a.user != "" {
		if err := k.imapCommand("b", "LOGIN "+imapQuoted(a.user)+" "+imapQuoted(a.password), health.WhyLogin); err != nil {
			return err
		}
	}
	return k.imapCommand("c", "LOGOUT", health.WhyStatus)
}

// imapCommand sends one and reads lines until the one with its tag.
func (k *talk) imapCommand(tag, command string, why health.Why) error {
	if err := k.say("%s %s", tag, command); err != nil {
		return err
	}
	verb, _, _ := strings.Cut(command, " ")
	for {
		line, err := k.line()
		if err != nil {
			return err
		}
		status, mine := strings.CutPrefix(line, tag+" ")
		switch word, _, _ := strings.Cut(status, " "); {
		case mine && word == "OK":
			return nil
		case mine && word == "NO":
			return fail(why, "%s: %s", verb, quote(status))
		case mine && word == "BAD":
			return fail(health.WhyStatus, "%s: %s", verb, quote(status))
		case mine || !strings.HasPrefix(line, "* "):
			return fail(health.WhyProtocol, "%s: not an IMAP reply: %s", verb, quote(line))
		}
	}
}

// imapQuoted writes a quoted string.
func imapQuoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

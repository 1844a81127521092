package probe

import (
	"context"
	"net"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// smtp asks a mail server for its greeting and its answer to EHLO, or HELO where it knows
// only that (RFC 5321 sections 3.1 and 3.2), and takes leave. Unlike keepalived's it
// accepts greetings of several lines.
type smtp struct {
	to   target
	tls  secrecy
	helo string
}

func newSMTP(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	if err == nil {
		err = lineSafe("host", p.Host)
	}
	return smtp{to, s, p.Host}, err
}

func (a smtp) ask(ctx context.Context, r *health.Result) error {
	k, err := a.to.open(ctx, &a.tls, r)
	if err != nil {
		return err
	}
	defer k.Close()
	if _, err := k.want("greeting", health.WhyStatus, "220"); err != nil {
		return err
	}
	if err := a.hello(k); err != nil {
		return err
	}
	if a.tls.mode == conf.TLSStartTLS { // RFC 3207 section 4
		if err := k.command("STARTTLS", health.WhyStatus, "220"); err != nil {
			return err
		}
		if err := k.encrypt(ctx, &a.tls, r); err != nil {
			return err
		}
		if err := a.hello(k); err != nil {
			return err
		}
	}
	return k.command("QUIT", health.WhyStatus, "2", "3", "4", "5") // any whole answer, as keepalived
}

func (a smtp) hello(k *talk) error {
	name := a.helo
	if name == "" { // an address literal: RFC 5321 section 4.1.3
		name = "[127.0.0.1]"
		if l, ok := k.LocalAddr().(*net.TCPAddr); ok {
			name = "[" + l.IP.String() + "]"
			if l.IP.To4() == nil {
				name = "[IPv6:" + l.IP.String() + "]"
			}
		}
	}
	if err := k.say("EHLO %s", name); err != nil {
		return err
	}
	code, text, err := k.reply()
	if err != nil || code == "250" {
		return err
	}
	if code[0] != '5' {
		return fail(health.WhyStatus, "EHLO: %s", quote(text))
	}
	return k.command("HELO "+name, health.WhyStatus, "250")
}

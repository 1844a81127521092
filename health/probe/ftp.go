package probe

import (
	"context"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// ftp asks a file server for its greeting, and logs in if a user is named (RFC 959
// section 5.4). It opens no data connection.
type ftp struct {
	to             target
	tls            secrecy
	user, password string
}

func newFTP(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	if err == nil {
		err = lineSafe("user or password", p.User, p.Password)
	}
	return ftp{to, s, p.User, p.Password}, err
}

func (a ftp) ask(ctx context.Context, r *health.Result) error {
	k, err := a.to.open(ctx, &a.tls, r)
	if err != nil {
		return err
	}
	defer k.Close()
	code := "120" // "ready in some minutes" comes before 220
	for code == "120" {
		if code, err = k.want("greeting", health.WhyStatus, "220", "120"); err != nil {
			return err
		}
	}
	if a.tls.mode == conf.TLSStartTLS { // RFC 4217 section 4
		if err := k.command("AUTH TLS", health.WhyStatus, "234"); err != nil {
			return err
		}
		if err := k.encrypt(ctx, &a.tls, r); err != nil {
			return err
		}
	}
	if a.user != "" {
		if err := k.say("USER %s", a.user); err != nil {
			return err
		}
		code, err := k.want("USER", health.WhyLogin, "331", "230", "232")
		if err != nil {
			return err
		}
		if code == "331" {
			if err := k.command("PASS "+a.password, health.WhyLogin, "230", "202"); err != nil {
				return err
			}
		}
	}
	return k.command("QUIT", health.WhyStatus, "2", "3", "4", "5")
}

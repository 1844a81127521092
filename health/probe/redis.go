package probe

import (
	"context"
	"fmt"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// redis sends PING, after AUTH if a password is given, and wants +PONG. A server that
// loads its data or has lost its master says so in an error.
type redis struct {
	to       target
	tls      secrecy
	commands []redisCommand
}

type redisCommand struct{ name, bytes, want string }

func newRedis(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	a := redis{to: to, tls: s}
	switch {
	case p.User != "":
		a.commands = append(a.commands, redisCommand{"AUTH", resp("AUTH", p.User, p.Password), "+OK"})
	case p.Password != "":
		a.commands = append(a.commands, redisCommand{"AUTH", resp("AUTH", p.Password), "+OK"})
	}
	a.commands = append(a.commands, redisCommand{"PING", resp("PING"), "+PONG"})
	return a, err
}

// resp writes a command as the Redis serialization protocol does: an array of bulk strings.
func resp(words ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(w), w)
	}
	return b.String()
}

func (a redis) ask(ctx context.Context, r *health.Result) error {
	k, err := a.to.open(ctx, &a.tls, r)
	if err != nil {
		return err
	}
	defer k.Close()
	for _, c := range a.commands {
		if _, err := k.Write([]byte(c.bytes)); err != nil {
			return err
		}
		line, err := k.line()
		switch {
		case err != nil:
			return err
		case line == c.want:
		case strings.HasPrefix(line, "-NOAUTH"), strings.HasPrefix(line, "-WRONGPASS"), c.name == "AUTH" && strings.HasPrefix(line, "-"):
			return fail(health.WhyLogin, "%s: %s", c.name, quote(line))
		case strings.HasPrefix(line, "-"):
			return fail(health.WhyStatus, "%s: %s", c.name, quote(line))
		default:
			return fail(health.WhyProtocol, "%s: not a Redis reply: %s", c.name, quote(line))
		}
	}
	return nil
}

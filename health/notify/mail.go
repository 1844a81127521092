package notify

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/smtp"
	"net/textproto"
	"os"
	"strings"
	"time"

	"github.com/dirigo-lb/dirigo/health"
)

const (
	gather      = time.Second      // what happens within it is told in one mail
	mailTimeout = 30 * time.Second // of one attempt; keepalived's smtp_connect_timeout
	mailLines   = 1000             // most events in a mail; the others are counted in it
)

// mail sends one mail that tells events, the first of which says to whom. It is tried
// again unless the server has refused it for good (5xx, RFC 5321 section 4.2.1).
func (n *Notifier) mail(ctx context.Context, events []health.Event) error {
	to := events[0].Notify
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	from, addr := to.MailFrom, to.MailServer
	text := message(host, from, to.Mail, events)
	return retry(ctx, func() (again bool, err error) {
		if err := send(ctx, addr, host, from, to.Mail, text); err != nil {
			var refused *textproto.Error
			var some *refusedSome
			again := !errors.As(err, &some) && (!errors.As(err, &refused) || refused.Code < 500)
			return again, fmt.Errorf("mail by %s: %w", addr, err)
		}
		return false, nil
	})
}

// send hands one mail to a server. It is encrypted if the server offers it, without a
// look at the certificate: what could be read on the way is no secret, and without TLS
// there would be even less.
func send(ctx context.Context, addr, helo, from string, to []string, text []byte) error {
	ctx, cancel := context.WithTimeout(ctx, mailTimeout)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	host, _, _ := net.SplitHostPort(addr)
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	if err := c.Hello(helo); err != nil {
		return err
	}
	if ok, _ := c.Extension("STARTTLS"); ok {
		if err := c.StartTLS(&tls.Config{InsecureSkipVerify: true, ServerName: host}); err != nil {
			return err
		}
	}
	if err := c.Mail(from); err != nil {
		return err
	}
	var refused []error
	for _, r := range to {
		if err := c.Rcpt(r); err != nil {
			refused = append(refused, fmt.Errorf("%s: %w", r, err))
		}
	}
	if len(refused) == len(to) { // one that is refused does not keep it from the others
		return refused[len(refused)-1]
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(text); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // it has the mail
	if len(refused) > 0 {
		return &refusedSome{refused}
	}
	return nil
}

// refusedSome says that a mail was taken, and not for all: sent again, some had it twice.
type refusedSome struct{ errs []error }

func (r *refusedSome) Error() string {
	return "sent, but refused for " + strings.ReplaceAll(errors.Join(r.errs...).Error(), "\n", ", ")
}

// message is the mail that tells events (RFC 5322, RFC 2045).
func message(host, from string, to []string, events []health.Event) []byte {
	subject := "dirigo " + host + ": " + line(&events[0])
	if len(events) > 1 {
		subject = fmt.Sprintf("dirigo %s: %d events, the first: %s", host, len(events), line(&events[0]))
	}
	var b bytes.Buffer
	for _, h := range [][2]string{
		{"From", from}, {"To", strings.Join(to, ", ")}, {"Subject", mime.QEncoding.Encode("utf-8", subject)},
		{"Date", time.Now().Format(time.RFC1123Z)}, {"Message-ID", "<" + rand.Text() + "@" + host + ">"},
		{"Auto-Submitted", "auto-generated"}, {"MIME-Version", "1.0"},
		{"Content-Type", "text/plain; charset=utf-8"}, {"Content-Transfer-Encoding", "quoted-printable"},
	} {
		b.WriteString(h[0] + ": " + oneLine.Replace(h[1]) + "\r\n")
	}
	b.WriteString("\r\n")
	w := quotedprintable.NewWriter(&b)
	for i := range events {
		if i == mailLines {
			fmt.Fprintf(w, "and %d more\r\n", len(events)-i)
			break
		}
		fmt.Fprintf(w, "%s %s\r\n", events[i].At.Format("2006-01-02 15:04:05"), line(&events[i]))
	}
	w.Close()
	return b.Bytes()
}

// line is an event in one line.
func line(e *health.Event) string {
	s := e.ID.Service.String()
	if e.ServiceName != "" {
		s = e.ServiceName + " (" + s + ")"
	}
	if !e.OfService {
		s += " server " + e.ID.Server.String()
		if e.ServerName != "" {
			s += " (" + e.ServerName + ")"
		}
	}
	s += ": " + strings.ReplaceAll(e.Kind, "_", " ")
	if e.Text != "" {
		s += ": " + e.Text
	}
	return oneLine.Replace(s)
}

// oneLine keeps what others have written from being more than a line.
var oneLine = strings.NewReplacer("\r", " ", "\n", " ")

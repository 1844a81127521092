package notify

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/quotedprintable"
	"net"
	"net/http"
	"net/http/httptest"
	"net/mail"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

func TestWebhookPostsTheEvent(t *testing.T) {
	got := make(chan string, 1)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- r.Method + " " + r.URL.Path + " " + r.Header.Get("Content-Type") + " " + string(b)
	}))
	defer srv.Close()
	n := New(Config{})
	to := &conf.Notify{Webhook: srv.URL + "/hook"}
	for _, c := range []struct{ kind, want string }{
		{"down", `{"time":"2026-01-02T12:00:00Z","event":"down","up":false,"service":"tcp/192.0.2.1:80","service_name":"web","server":"10.0.0.1:8080","server_name":"a","why":"refused","text":"http: connection refused"}`},
		{"quorum_up", `{"time":"2026-01-02T12:00:00Z","event":"quorum_up","up":true,"service":"tcp/192.0.2.1:80","service_name":"web"}`},
	} {
		e := event(c.kind, web, to)
		if err := n.webhook(t.Context(), &e); err != nil {
			t.Fatal(err)
		}
		if g, want := <-got, "POST /hook application/json "+c.want; g != want {
			t.Errorf("got %s\nwant %s", g, want)
		}
	}
	n.client.CloseIdleConnections()
}

// It is tried again where that may help, and a secret in the URL is not told.
func TestWebhookTriesAgainWhereItMayHelp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		codes []int
		tries int32
		err   string
	}{
		{[]int{503, 200}, 2, ""},
		{[]int{429, 204}, 2, ""},
		{[]int{404, 200}, 1, "404 Not Found"},
		{[]int{302, 200}, 1, "302 Found"},
	} {
		var tries atomic.Int32
		srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(c.codes[tries.Add(1)-1])
		}))
		n := New(Config{})
		e := event("up", web, &conf.Notify{Webhook: srv.URL + "/secret"})
		err := n.webhook(t.Context(), &e)
		if tries.Load() != c.tries || (err == nil) != (c.err == "") || err != nil && (!strings.Contains(err.Error(), c.err) || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%v: %d tries, %v", c.codes, tries.Load(), err)
		}
		n.client.CloseIdleConnections()
		srv.Close()
	}
	n := New(Config{})
	for _, url := range []string{"http://127.0.0.1:1/secret", "http://bad host/secret", "::secret"} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		e := event("up", web, &conf.Notify{Webhook: url})
		if err := n.webhook(ctx, &e); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", url, err)
		}
		cancel()
	}
}

// One that accepts and says nothing ends with the timeout.
func TestSilentWebhookEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	n := New(Config{Timeout: 50 * time.Millisecond})
	e := event("up", web, &conf.Notify{Webhook: "http://" + l.Addr().String()})
	begin := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond) // in the first pause
	defer cancel()
	if err := n.webhook(ctx, &e); err == nil || time.Since(begin) > 30*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

// mailServer is a small SMTP server that answers "say[command]" where that is set and
// takes mails otherwise. It gives what it was told, without the data's last dot.
func mailServer(t *testing.T, say map[string]string) (addr string, sessions <-chan []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	out := make(chan []string, 10)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serveMail(c, say, out)
		}
	}()
	return l.Addr().String(), out
}

func serveMail(c net.Conn, say map[string]string, out chan<- []string) {
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(time.Minute))
	var lines []string
	defer func() { out <- lines }()
	fmt.Fprint(c, "220 mx.example ESMTP\r\n")
	data := false
	for s := bufio.NewScanner(c); s.Scan(); {
		line := s.Text()
		switch {
		case data && line == ".":
			data = false
			fmt.Fprint(c, "250 taken\r\n")
			continue
		case data:
			lines = append(lines, line)
			continue
		}
		lines = append(lines, line)
		word, _, _ := strings.Cut(line, " ")
		switch {
		case say[line] != "":
			fmt.Fprint(c, say[line]+"\r\n")
		case say[word] != "":
			fmt.Fprint(c, say[word]+"\r\n")
		case word == "DATA":
			data = true
			fmt.Fprint(c, "354 go\r\n")
		case word == "QUIT":
			fmt.Fprint(c, "221 bye\r\n")
			return
		default:
			fmt.Fprint(c, "250 ok\r\n")
		}
	}
}

func TestMailTellsAllEvents(t *testing.T) {
	addr, sessions := mailServer(t, map[string]string{"RCPT TO:<gone@example.org>": "550 no such user"})
	to := &conf.Notify{Mail: []string{"gone@example.org", "ops@example.org"}, MailFrom: "lb@example.org", MailServer: addr}
	events := []health.Event{event("down", web, to), event("quorum_down", mark, to)}
	events[0].Text = "status 503 «müde»\nBcc: x@y"
	events[1].ServiceName = ""
	n := New(Config{})
	// Who is refused is told of, without a second mail for the others.
	if err := n.mail(t.Context(), events); err == nil || !strings.Contains(err.Error(), "gone@example.org") || strings.Contains(err.Error(), "ops@") {
		t.Errorf("with one recipient refused: %v", err)
	}
	lines := <-sessions
	if len(sessions) > 0 {
		t.Error("sent again")
	}
	all := strings.Join(lines, "\n")
	for _, want := range []string{"MAIL FROM:<lb@example.org>", "RCPT TO:<gone@example.org>", "RCPT TO:<ops@example.org>", "QUIT"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %s in\n%s", want, all)
		}
	}
	_, rest, _ := strings.Cut(all, "DATA\n")
	rest, _, _ = strings.Cut(rest, "\nQUIT")
	m, err := mail.ReadMessage(strings.NewReader(rest))
	if err != nil {
		t.Fatalf("%v in\n%s", err, rest)
	}
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	if err != nil || !strings.Contains(subject, ": 2 events, the first: web (tcp/192.0.2.1:80) server 10.0.0.1:8080 (a): down: status 503 «müde» Bcc: x@y") {
		t.Errorf("subject %q %v", subject, err)
	}
	if m.Header.Get("Bcc") != "" || m.Header.Get("To") != "gone@example.org, ops@example.org" || m.Header.Get("From") != "lb@example.org" {
		t.Errorf("headers %v", m.Header)
	}
	if d, err := m.Header.Date(); err != nil || time.Since(d) > time.Hour {
		t.Errorf("date %v %v", d, err)
	}
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	want := "2026-01-02 12:00:00 web (tcp/192.0.2.1:80) server 10.0.0.1:8080 (a): down: status 503 «müde» Bcc: x@y\n" +
		"2026-01-02 12:00:00 fwmark 3: quorum down" // and the end of the line, which the server took
	if got := strings.ReplaceAll(string(text), "\r\n", "\n"); err != nil || got != want {
		t.Errorf("%v, text\n%s\nwant\n%s", err, got, want)
	}
}

// A mail of very many events says how many it does not list.
func TestLongMailIsCut(t *testing.T) {
	events := make([]health.Event, mailLines+7)
	for i := range events {
		events[i] = event("up", web, nil)
	}
	m := string(message("h", "a@b", []string{"c@d"}, events))
	if !strings.HasSuffix(m, "and 7 more\r\n") || strings.Count(m, "2026-01-02 12:00:00") != mailLines {
		t.Errorf("ends with %q", m[len(m)-100:])
	}
}

// RFC 5321 section 4.2.1: 5xx is for good, 4xx and silence are tried again.
func TestMailTriesAgainWhereItMayHelp(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		say   map[string]string
		tries int
	}{
		{map[string]string{"MAIL": "550 no"}, 1},
		{map[string]string{"RCPT": "550 no such user"}, 1},
		{map[string]string{"MAIL": "451 later"}, 2},
	} {
		addr, sessions := mailServer(t, c.say)
		n := New(Config{})
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second) // in the second pause, from 1 s to 5 s
		err := n.mail(ctx, []health.Event{event("up", web, &conf.Notify{Mail: []string{"a@b"}, MailServer: addr})})
		cancel()
		tries := 0
		for done := false; !done; {
			wait := 10 * time.Second
			if tries >= c.tries {
				wait = 100 * time.Millisecond // for one too many
			}
			select {
			case <-sessions:
				tries++
			case <-time.After(wait):
				done = true
			}
		}
		if err == nil || tries != c.tries {
			t.Errorf("%v: %v after %d tries", c.say, err, tries)
		}
	}
}

// A server that accepts and says nothing ends with the context.
func TestSilentMailServerEnds(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := send(ctx, l.Addr().String(), "h", "a@b", []string{"c@d"}, nil); err == nil || time.Since(begin) > 20*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

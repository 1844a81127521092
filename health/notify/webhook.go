package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/dirigo-lb/dirigo/health"
)

// body is what a webhook gets, as JSON by POST. Fields are added in time, never changed.
type body struct {
	Time        time.Time `json:"time"`
	Event       string    `json:"event"`                  // a Kind of package health: "up", "down", "quorum_down", "sorry_on", …
	Up          bool      `json:"up"`                     // what the server, or the service, is now
	Service     string    `json:"service"`                // "tcp/192.0.2.1:80", "fwmark 3"
	ServiceName string    `json:"service_name,omitempty"` // of the file
	Server      string    `json:"server,omitempty"`       // "10.0.0.1:80"; none: the event is the service's
	ServerName  string    `json:"server_name,omitempty"`
	Why         string    `json:"why,omitempty"` // of a server that is down: "refused", "timeout", …
	Text        string    `json:"text,omitempty"`
}

func newBody(e *health.Event) body {
	b := body{Time: e.At.UTC(), Event: e.Kind, Up: e.Up, Service: e.ID.Service.String(), ServiceName: e.ServiceName, Why: string(e.Why), Text: e.Text}
	if !e.OfService {
		b.Server, b.ServerName = e.ID.Server.String(), e.ServerName
	}
	return b
}

// newClient gives a client that follows no redirection: a POST would become a GET.
func newClient() *http.Client {
	return &http.Client{
		Transport:     &http.Transport{Proxy: http.ProxyFromEnvironment, MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// webhook posts an event. It is tried again where that may help: the other end does not
// answer, or says 5xx or 429. The URL is not told to the log, since it may hold a secret.
func (n *Notifier) webhook(ctx context.Context, e *health.Event) error {
	text, err := json.Marshal(newBody(e))
	if err != nil {
		return fmt.Errorf("webhook: %w", err)
	}
	return retry(ctx, func() (again bool, err error) {
		limit, cancel := context.WithTimeout(ctx, n.cfg.Timeout)
		defer cancel()
		req, err := http.NewRequestWithContext(limit, http.MethodPost, e.Notify.Webhook, bytes.NewReader(text))
		if err != nil {
			return false, fmt.Errorf("webhook: %w", bare(err))
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("User-Agent", "dirigo")
		resp, err := n.client.Do(req)
		if err != nil {
			return true, fmt.Errorf("webhook to %s: %w", req.URL.Host, bare(err))
		}
		defer resp.Body.Close()
		_, _ = io.CopyN(io.Discard, resp.Body, 64<<10) // so that the connection may be used again
		if resp.StatusCode/100 != 2 {
			return resp.StatusCode/100 == 5 || resp.StatusCode == http.StatusTooManyRequests,
				fmt.Errorf("webhook to %s: answered %s", req.URL.Host, resp.Status)
		}
		return false, nil
	})
}

// bare is an error without the URL.
func bare(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

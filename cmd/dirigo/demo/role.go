package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// Serve is a real server's HTTP server: every answer is its name. It writes "ready" to
// out once it listens, and ends with ctx.
func Serve(ctx context.Context, listen, name string, out io.Writer) error {
	l, err := net.Listen("tcp4", listen)
	if err != nil {
		return err
	}
	srv := &http.Server{
		ReadHeaderTimeout: 5 * time.Second,
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, name) }),
	}
	defer context.AfterFunc(ctx, func() { srv.Close() })()
	fmt.Fprintln(out, "ready")
	if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

const giveUp = 10

// Request makes n requests, each on a connection of its own, a few at a time. For each
// it writes a line to out: the name that answered, or "error" and what went wrong. After
// giveUp errors it makes no more.
func Request(ctx context.Context, url string, n int, out io.Writer) error {
	const parallel = 4
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	work, lines := make(chan struct{}), make(chan string)
	var wg sync.WaitGroup
	for range parallel {
		wg.Go(func() {
			for range work {
				name, err := get(ctx, client, url)
				if err != nil {
					name = "error " + err.Error()
				}
				lines <- name
			}
		})
	}
	go func() {
		for i := 0; i < n && ctx.Err() == nil; i++ {
			work <- struct{}{}
		}
		close(work)
		wg.Wait()
		close(lines)
	}()
	var err error
	failed := 0
	for line := range lines {
		if strings.HasPrefix(line, "error ") {
			if failed++; failed == giveUp {
				cancel()
			}
		}
		if _, e := fmt.Fprintln(out, line); e != nil {
			err = e
		}
	}
	return err
}

func get(ctx context.Context, client *http.Client, url string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 256))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	return strings.TrimSpace(string(body)), err
}

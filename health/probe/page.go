package probe

import (
	"crypto/md5"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// page is what a good answer of a web server looks like.
type page struct {
	status []statusRange
	asked  string // the same as written
	body   *regexp.Regexp
	digest []byte // of MD5 or SHA-256, told apart by length; nil: any
}

type statusRange struct{ first, last int }

func newPage(p *conf.Probe) (page, error) {
	g := page{asked: p.Status}
	if g.asked == "" {
		g.asked = "200-299" // as keepalived
	}
	for part := range strings.SplitSeq(g.asked, ",") {
		a, b, is := strings.Cut(strings.TrimSpace(part), "-")
		if !is {
			b = a
		}
		first, err1 := strconv.Atoi(a)
		last, err2 := strconv.Atoi(b)
		if err1 != nil || err2 != nil || first < 100 || last > 999 || first > last {
			return g, fmt.Errorf("status %q: want numbers and ranges as 200-299,301", p.Status)
		}
		g.status = append(g.status, statusRange{first, last})
	}
	var err error
	if g.body, err = expression("body", p.Body); err != nil {
		return g, err
	}
	if g.digest, err = hex.DecodeString(p.Digest); err != nil || len(g.digest) != 0 && len(g.digest) != md5.Size && len(g.digest) != sha256.Size {
		return g, fmt.Errorf("digest %q: want the 32 hexadecimal digits of MD5 or the 64 of SHA-256", p.Digest)
	}
	return g, nil
}

// judge reads an answer to its end and compares. The status is judged first, so an error
// page is named as such whatever is in it.
func (g *page) judge(answer *http.Response) error {
	if err := g.judgeStatus(answer.StatusCode); err != nil {
		return err
	}
	long := answer.ContentLength > maxAnswer
	if g.body == nil && len(g.digest) == 0 {
		n, err := io.CopyN(io.Discard, answer.Body, maxAnswer+1)
		return g.whole(int(n), long, err)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	if err := g.whole(len(body), long, err); err != nil {
		return err
	}
	return g.judgeBody(body[:min(len(body), maxAnswer)], len(body) > maxAnswer)
}

// whole tells an answer that ended from one that did not. One that said beforehand how
// long it is may be longer than what is looked at.
func (g *page) whole(n int, long bool, err error) error {
	switch {
	case err != nil && err != io.EOF:
		return err
	case n > maxAnswer && !long:
		return fail(health.WhyTooLong, "a body of more than %d bytes", maxAnswer)
	}
	return nil
}

func (g *page) judgeStatus(code int) error {
	for _, s := range g.status {
		if s.first <= code && code <= s.last {
			return nil
		}
	}
	return fail(health.WhyStatus, "status %d, want %s", code, g.asked)
}

func (g *page) judgeBody(body []byte, cut bool) error {
	if g.body != nil && !g.body.Match(body) {
		return fail(health.WhyContent, "the body does not match %s: %s", quote(g.body.String()), quote(body))
	}
	var sum []byte
	switch len(g.digest) {
	case 0:
		return nil
	case md5.Size:
		s := md5.Sum(body)
		sum = s[:]
	default:
		s := sha256.Sum256(body)
		sum = s[:]
	}
	switch {
	case cut:
		return fail(health.WhyTooLong, "a body of more than %d bytes has no digest", maxAnswer)
	case string(sum) != string(g.digest):
		return fail(health.WhyContent, "the body has digest %x", sum)
	}
	return nil
}

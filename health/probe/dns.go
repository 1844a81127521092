package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// dns asks one question (RFC 1035), over UDP and again over TCP if the answer did not fit.
// RCODE 0 is good, with no records too, as with keepalived; with an expectation one of the
// records of the answer must match it.
type dns struct {
	to        target
	query     []byte // with id 0
	question  dnsmessage.Question
	answer    *regexp.Regexp
	transport string // "udp" or "tcp"
}

func newDNS(p *conf.Probe, to target) (asker, error) {
	a := dns{to: to, transport: p.Transport}
	record := p.Record
	if record == "" {
		record = "SOA" // as keepalived
	}
	kind, err := recordType(record)
	if err != nil {
		return nil, err
	}
	name, err := dnsmessage.NewName(strings.TrimSuffix(p.Name, ".") + ".")
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", p.Name, err)
	}
	a.question = dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET}
	m := dnsmessage.Message{Header: dnsmessage.Header{RecursionDesired: true}, Questions: []dnsmessage.Question{a.question}}
	if a.query, err = m.Pack(); err != nil {
		return nil, fmt.Errorf("name %q: %w", p.Name, err)
	}
	a.answer, err = expression("answer", p.Answer)
	return a, err
}

func (a dns) ask(ctx context.Context, r *health.Result) error {
	id := uint16(rand.Uint32())
	query := append([]byte(nil), a.query...)
	binary.BigEndian.PutUint16(query, id)
	if a.transport != "tcp" {
		var answer []byte
		err := a.to.datagrams(ctx, query, func(b []byte) (bool, error) {
			answer = b
			return len(b) < 2 || binary.BigEndian.Uint16(b) == id, nil
		})
		if err != nil {
			return err
		}
		if again, err := a.judge(answer, id); !again || err != nil {
			return err
		}
	}
	k, err := a.to.open(ctx, &secrecy{}, r)
	if err != nil {
		return err
	}
	defer k.Close()
	if _, err := k.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(query))), query...)); err != nil {
		return err
	}
	length, err := k.frame(2) // RFC 1035 section 4.2.2
	if err != nil {
		return err
	}
	answer, err := k.frame(int(binary.BigEndian.Uint16(length)))
	if err != nil {
		return err
	}
	again, err := a.judge(answer, id)
	if again {
		return fail(health.WhyProtocol, "an answer over TCP that says it did not fit")
	}
	return err
}

// judge reads one answer; again says that it did not fit its datagram.
func (a *dns) judge(b []byte, id uint16) (again bool, err error) {
	var p dnsmessage.Parser
	h, err := p.Start(b)
	if err != nil {
		return false, notDNS(err)
	}
	if h.ID != id || !h.Response {
		return false, fail(health.WhyProtocol, "not an answer to the question asked")
	}
	if h.RCode != dnsmessage.RCodeSuccess { // some of these leave the question out
		return false, fail(health.WhyStatus, "answer %s", rcode(h.RCode))
	}
	questions, err := p.AllQuestions()
	if err != nil {
		return false, notDNS(err)
	}
	if len(questions) != 1 || questions[0].Type != a.question.Type || !strings.EqualFold(questions[0].Name.String(), a.question.Name.String()) {
		return false, fail(health.WhyProtocol, "an answer to another question: %v", questions)
	}
	if h.Truncated {
		return true, nil
	}
	var said []string
	for {
		record, err := p.AnswerHeader()
		if err == dnsmessage.ErrSectionDone {
			break
		}
		if err != nil {
			return false, notDNS(err)
		}
		text, err := recordText(&p, record)
		if err != nil {
			return false, notDNS(err)
		}
		if a.answer != nil && a.answer.MatchString(text) {
			return false, nil
		}
		said = append(said, text)
	}
	if a.answer != nil {
		return false, fail(health.WhyContent, "no answer matches %s: %s", quote(a.answer.String()), quote(strings.Join(said, ", ")))
	}
	return false, nil
}

func notDNS(err error) error { return fail(health.WhyProtocol, "not DNS: %v", err) }

// rcode is the name of a response code as dig writes it (RFC 1035 section 4.1.1).
func rcode(c dnsmessage.RCode) string {
	names := []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("RCODE%d", c)
}

package probe

import (
	"context"
	"fmt"
	"regexp"
	"strings"

	"github.com/dirigo-lb/dirigo/conf"
	"github.com/dirigo-lb/dirigo/health"
)

// ldap binds, as nobody if no user is named, and reads one entry if a base DN or an
// answer is given: the entry must be there, and its DN or one of its attributes, written
// "name: value", must match (RFC 4511).
type ldap struct {
	to                   target
	tls                  secrecy
	user, password, base string
	search               bool
	answer               *regexp.Regexp
}

// Tags (RFC 4511 sections 4 and 5.1, appendix B) and result codes (appendix A).
const (
	ldapBind          = 0x60
	ldapBindDone      = 0x61
	ldapUnbind        = 0x42
	ldapSearch        = 0x63
	ldapEntry         = 0x64
	ldapSearchDone    = 0x65
	ldapReference     = 0x73
	ldapExtended      = 0x77
	ldapExtendedDone  = 0x78
	ldapSimple        = 0x80
	ldapRequestName   = 0x80
	ldapPresent       = 0x87 // a filter
	ldapStrongAuth    = 8
	ldapInappropriate = 48
	ldapInvalidLogin  = 49
	ldapInsufficient  = 50
	ldapStartTLS      = "1.3.6.1.4.1.1466.20037"
)

func newLDAP(p *conf.Probe, to target) (asker, error) {
	s, err := newSecrecy(p, p.TLS.Mode, to)
	if err != nil {
		return nil, err
	}
	re, err := expression("answer", p.Answer)
	return ldap{to, s, p.User, p.Password, p.Name, p.Name != "" || p.Answer != "", re}, err
}

func (a ldap) ask(ctx context.Context, r *health.Result) error {
	k, err := a.to.open(ctx, &a.tls, r)
	if err != nil {
		return err
	}
	defer k.Close()
	if a.tls.mode == conf.TLSStartTLS {
		name := ber(ldapRequestName, []byte(ldapStartTLS))
		if err := k.ldapAsk(1, ber(ldapExtended, name), ldapExtendedDone, "StartTLS", nil); err != nil {
			return err
		}
		if err := k.encrypt(ctx, &a.tls, r); err != nil {
			return err
		}
	}
	bind := ber(ldapBind, berInt(berInteger, 3), ber(berOctets, []byte(a.user)), ber(ldapSimple, []byte(a.password)))
	if err := k.ldapAsk(2, bind, ldapBindDone, "bind", nil); err != nil {
		return err
	}
	if a.search {
		if err := a.read(k); err != nil {
			return err
		}
	}
	_, err = k.Conn.Write(ber(berSequence, berInt(berInteger, 4), []byte{ldapUnbind, 0}))
	return err
}

// read searches the base object alone.
func (a ldap) read(k *talk) error {
	search := ber(ldapSearch, ber(berOctets, []byte(a.base)),
		berInt(berEnumerated, 0), berInt(berEnumerated, 0), // baseObject, neverDerefAliases
		berInt(berInteger, 1), berInt(berInteger, 0), []byte{berBoolean, 1, 0}, // size and time limits, types only
		ber(ldapPresent, []byte("objectClass")), ber(berSequence))
	var said []string
	err := k.ldapAsk(3, search, ldapSearchDone, "search", func(entry []byte) error {
		lines, err := entryLines(entry)
		said = append(said, lines...)
		return err
	})
	switch {
	case err != nil:
		return err
	case len(said) == 0:
		return fail(health.WhyContent, "no entry %s", quote(a.base))
	case a.answer == nil:
		return nil
	}
	for _, line := range said {
		if a.answer.MatchString(line) {
			return nil
		}
	}
	return fail(health.WhyContent, "nothing of the entry matches %s: %s", quote(a.answer.String()), quote(strings.Join(said, ", ")))
}

// ldapAsk sends a request and reads to the response that ends it.
func (k *talk) ldapAsk(id byte, request []byte, end byte, what string, entry func([]byte) error) error {
	if _, err := k.Conn.Write(ber(berSequence, berInt(berInteger, int(id)), request)); err != nil {
		return err
	}
	for {
		message, err := k.berMessage()
		if err != nil {
			return err
		}
		number, rest, err := takeBER(message, berInteger)
		if err != nil {
			return err
		}
		if len(number) == 1 && number[0] == 0 {
			return fail(health.WhyStatus, "%s: the server disconnects: %s", what, quote(rest)) // section 4.4.1
		}
		if len(number) == 0 || number[len(number)-1] != id || len(rest) == 0 {
			return fail(health.WhyProtocol, "%s: an answer to another request", what)
		}
		switch kind := rest[0]; {
		case kind == end:
			body, _, err := takeBER(rest, end)
			if err != nil {
				return err
			}
			return ldapResult(body, what)
		case kind == ldapEntry && entry != nil:
			body, _, err := takeBER(rest, ldapEntry)
			if err == nil {
				err = entry(body)
			}
			if err != nil {
				return err
			}
		case kind == ldapReference && entry != nil:
		default:
			return fail(health.WhyProtocol, "%s: not an answer to it: tag %#x", what, kind)
		}
	}
}

// ldapResult reads LDAPResult: code, matched DN, text (section 4.1.9).
func ldapResult(b []byte, what string) error {
	code, rest, err := takeBER(b, berEnumerated)
	if err != nil {
		return err
	}
	_, rest, err = takeBER(rest, berOctets)
	if err != nil {
		return err
	}
	text, _, err := takeBER(rest, berOctets)
	if err != nil {
		return err
	}
	if len(code) != 1 {
		return fail(health.WhyProtocol, "%s: a result code of %d bytes", what, len(code))
	}
	why := health.WhyStatus
	switch code[0] {
	case 0:
		return nil
	case ldapStrongAuth, ldapInappropriate, ldapInvalidLogin, ldapInsufficient:
		why = health.WhyLogin
	}
	return fail(why, "%s: LDAP result %d %s", what, code[0], quote(text))
}

// entryLines reads SearchResultEntry: the DN, and each value of each attribute (section 4.5.2).
func entryLines(b []byte) ([]string, error) {
	dn, rest, err := takeBER(b, berOctets)
	if err != nil {
		return nil, err
	}
	lines := []string{string(dn)}
	attributes, _, err := takeBER(rest, berSequence)
	for err == nil && len(attributes) > 0 {
		var one, name, values, value []byte
		if one, attributes, err = takeBER(attributes, berSequence); err != nil {
			break
		}
		if name, values, err = takeBER(one, berOctets); err != nil {
			break
		}
		values, _, err = takeBER(values, berSet)
		for err == nil && len(values) > 0 {
			if value, values, err = takeBER(values, berOctets); err == nil {
				lines = append(lines, fmt.Sprintf("%s: %s", name, value))
			}
		}
	}
	return lines, err
}

package recovery_test

import (
	"bufio"
	"context"
	"crypto/sha1"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"

	"example.com/recovery"
)

// pwned asks Have I Been Pwned, or a mirror of it, whether a password has leaked. It sends the
// first 5 of 40 hexadecimal digits of the hash, and looks for the others in the answer.
type pwned struct{ url string } // https://api.pwnedpasswords.com/range/

func (p pwned) breached(ctx context.Context, password string) (bool, error) {
	hash := fmt.Sprintf("%X", sha1.Sum([]byte(password)))
	r, err := http.NewRequestWithContext(ctx, "GET", p.url+hash[:5], nil)
	if err != nil {
		return false, err
	}
	r.Header.Set("Add-Padding", "true")
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		return false, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return false, fmt.Errorf("pwned passwords: status %d", response.StatusCode)
	}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if rest, times, _ := strings.Cut(lines.Text(), ":"); rest == hash[5:] && times != "0" { // 0 is padding
			return true, nil
		}
	}
	return false, lines.Err()
}

// Passwords that are known to have leaked are refused.
func ExamplePolicy_breached() {
	service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		hash := fmt.Sprintf("%X", sha1.Sum([]byte("Tr0ub4dor&3")))
		_, _ = io.WriteString(w, "0018A45C4D1DEF81644B54AB7F969B88D65:0\r\n"+hash[5:]+":42\r\n")
	}))
	defer service.Close()

	policy := recovery.Policy{Breached: pwned{service.URL + "/"}.breached} // for recovery.Options
	for _, password := range []string{"Tr0ub4dor&3", "Correct-h0rse-7"} {
		leaked, err := policy.Breached(context.Background(), password)
		fmt.Println(leaked, err)
	}
	// Output:
	// true <nil>
	// false <nil>
}

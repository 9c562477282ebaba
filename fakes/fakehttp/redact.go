package fakehttp

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime"
	"net/url"
	"regexp"
)

const redacted = "[redacted]"

var secretKey = regexp.MustCompile(`(?i)secret|passw|token|private|credential|assertion`)

// redact returns the body of a request without what may be a secret. What cannot be parsed is not shown at all.
func redact(contentType string, body []byte) string {
	if len(body) == 0 {
		return ""
	}
	if mediaType, _, _ := mime.ParseMediaType(contentType); mediaType == "application/x-www-form-urlencoded" {
		form, err := url.ParseQuery(string(body))
		if err != nil {
			return unparsed(body)
		}
		for key := range form {
			if secretKey.MatchString(key) {
				form.Set(key, redacted)
			}
		}
		return form.Encode()
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if dec.Decode(&v) != nil || dec.More() {
		return unparsed(body)
	}
	if !redactValue(v) {
		return string(body)
	}
	text, _ := json.Marshal(v) // it came from JSON
	return string(text)
}

func unparsed(body []byte) string { return fmt.Sprintf("[%d bytes that cannot be parsed]", len(body)) }

// redactValue replaces secrets in place, and reports whether there were any.
func redactValue(v any) (found bool) {
	switch v := v.(type) {
	case map[string]any:
		for key, member := range v {
			if secretKey.MatchString(key) {
				v[key], found = redacted, true
			} else {
				found = redactValue(member) || found
			}
		}
	case []any:
		for _, element := range v {
			found = redactValue(element) || found
		}
	}
	return found
}

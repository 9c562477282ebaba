package fakehttp

// ToYAML is toYAML, for tests.
var ToYAML = toYAML

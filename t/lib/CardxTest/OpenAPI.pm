package CardxTest::OpenAPI;

# docs/openapi.yaml as the tests read it: the document, its schemas, and its
# operations by their operationId.

use strict;
use warnings;

use CardxTest ();
use CardxTest::Schema;
use Exporter 'import';
use Test::More ();
use YAML::PP ();

our @EXPORT = qw($document $schemas %operations good pairs slurp walk);

sub slurp {
    my ($name) = @_;
    open my $in, '<:raw', "$CardxTest::ROOT/$name" or die "$name: $!";
    local $/;
    return scalar <$in>;
}

# No line is wrong.
sub good {
    my ($name, @wrong) = @_;
    Test::More::is(join("\n", @wrong), '', $name);
}

our $document = YAML::PP->new(boolean => 'JSON::PP', duplicate_keys => 0)
    ->load_string(do { my $text = slurp('docs/openapi.yaml');
        utf8::decode($text); $text });
our $schemas = CardxTest::Schema->new($document);
our %operations;


# Visits everything; `call` gets what is there and the names that lead to it.
sub walk {
    my ($here, $call, @path) = @_;
    $call->($here, @path);
    if (ref $here eq 'HASH') {
        walk($here->{$_}, $call, @path, $_) for sort keys %$here;
    } elsif (ref $here eq 'ARRAY') {
        walk($here->[$_], $call, @path, $_) for 0 .. $#$here;
    }
}

for my $path (sort keys %{ $document->{paths} }) {
    my $item = $document->{paths}{$path};
    for my $method (grep { $item->{$_} } qw(get put post delete patch)) {
        my $operation = $item->{$method};
        my %parameters;
        for my $parameter (map { $schemas->resolve($_) }
            map { @{ $_->{parameters} || [] } } $item, $operation) {
            $parameters{ $parameter->{name} } = $parameter;
        }
        my $id = $operation->{operationId} // "$method $path";
        die "docs/openapi.yaml: $id is there twice" if $operations{$id};
        $operations{$id} = { id => $id, path => $path, method => uc $method,
            item => $item, operation => $operation,
            parameters => \%parameters };
    }
}

# "status code" pairs that an operation's answer may have.
sub pairs {
    my ($status, $response) = @_;
    my $content = $schemas->resolve($response)->{content} || {};
    my $schema = ($content->{'application/problem+json'} || {})->{schema}
        or return;
    return map { "$status $_" } @{ $schema->{properties}{code}{enum} }
        if $status ne 'default';
    return map { "$_->{properties}{status}{const} "
        . $_->{properties}{code}{const} } @{ $schema->{anyOf} };
}

1;

// Computes each line of standard input, and prints its value or the error. With an argument, the first error ends it.
// Errors are thrown within the recursion, wrapped by the brackets around them, and caught by their base class.
#include <exception>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

// Counts its objects that live: an exception must end those of each function that it leaves.
template <class Kind> struct Counted {
    static inline int alive = 0;
    Counted() { ++alive; }
    Counted(const Counted &) = delete;
    ~Counted() { --alive; }
};

struct Brackets : Counted<Brackets> {};

struct Number : Counted<Number> {
    long value;
    explicit Number(long given) : value(given) {}
};

using Value = std::unique_ptr<Number>;

struct SyntaxError : std::runtime_error {
    std::size_t column;
    SyntaxError(const char *expected, std::size_t at) : std::runtime_error(expected), column(at) {}
};

class Reader {
  public:
    explicit Reader(const std::string &given) : line(given) {}

    long value() {
        const Value all = sum();
        if (at < line.size()) throw SyntaxError("the end", at);
        return all->value;
    }

  private:
    const std::string &line;
    std::size_t at = 0;

    bool takes(char symbol) {
        while (at < line.size() && line[at] == ' ') ++at;
        if (at >= line.size() || line[at] != symbol) return false;
        ++at;
        return true;
    }

    Value sum() {
        Value left = product();
        for (;;) {
            if (takes('+')) left->value += product()->value;
            else if (takes('-')) left->value -= product()->value;
            else return left;
        }
    }

    Value product() {
        Value left = factor();
        for (;;) {
            if (takes('*')) left->value *= factor()->value;
            else if (takes('/')) {
                const Value right = factor();
                if (!right->value) throw std::domain_error("division by zero");
                left->value /= right->value;
            } else return left;
        }
    }

    Value factor() {
        if (takes('(')) return within_brackets();
        std::size_t length = 0;
        try {
            auto number = std::make_unique<Number>(std::stol(line.substr(at), &length));
            at += length;
            return number;
        } catch (const std::invalid_argument &) {
            throw SyntaxError("a number", at);
        }
    }

    Value within_brackets() {
        const Brackets brackets;
        const std::size_t begin = at - 1;
        try {
            Value inner = sum();
            if (!takes(')')) throw SyntaxError("a bracket", at);
            return inner;
        } catch (const SyntaxError &) {
            throw;
        } catch (...) {
            std::throw_with_nested(std::runtime_error("within the brackets at " + std::to_string(begin)));
        }
    }
};

static void print(const std::exception &error) {
    std::cout << error.what();
    try {
        std::rethrow_if_nested(error);
    } catch (const std::exception &inner) {
        std::cout << ": ";
        print(inner);
    }
}

int main(int count, char **) {
    for (std::string line; std::getline(std::cin, line); std::cout << std::endl) {
        try {
            std::cout << Reader(line).value();
        } catch (const SyntaxError &error) {
            std::cout << "expected " << error.what() << " at " << error.column;
        } catch (const std::exception &error) {
            if (count > 1) throw;
            print(error);
        }
    }
    std::cout << Counted<Number>::alive << " numbers, " << Counted<Brackets>::alive << " brackets alive" << std::endl;
}

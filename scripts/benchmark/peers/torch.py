"""PyTorch, eager and with `torch.compile`."""

import torch
from torch import nn

from benchmark.peers.task import BN_EPSILON, DECAY_STEPS, LEARNING_RATE_DECAY, STDDEV, loop


def eager(task):
    trainer = Trainer(task, loss_and_accuracy)
    return loop(task, trainer.train, trainer.evaluate)


def compiled(task):
    trainer = Trainer(task, torch.compile(loss_and_accuracy))
    return loop(task, trainer.train, trainer.evaluate)


def build_model(task):
    config = task.config
    return nn.Sequential(
        *linear_batch_norm(task.num_features, config.hidden_size, config),
        nn.Dropout(1 - config.keep_prob),
        *linear_batch_norm(config.hidden_size, task.num_classes, config),
    )


def linear_batch_norm(inputs, units, config):
    linear = nn.Linear(inputs, units)
    nn.init.trunc_normal_(linear.weight, std=STDDEV, a=-2 * STDDEV, b=2 * STDDEV)
    nn.init.ones_(linear.bias)
    return linear, nn.BatchNorm1d(units, eps=BN_EPSILON, momentum=1 - config.decay), nn.ReLU()


def loss_and_accuracy(model, X, y):
    logits = model(X)
    return nn.functional.cross_entropy(logits, y), (logits.argmax(1) == y).float().mean()


def tensors(X, y):
    return torch.from_numpy(X), torch.from_numpy(y).long()


class Trainer:
    def __init__(self, task, forward):
        config = task.config
        torch.manual_seed(config.seed)
        self.config, self.offsets, self.forward = config, task.offsets, forward
        self.model = build_model(task)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=config.learning_rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.StepLR(self.optimizer, DECAY_STEPS, LEARNING_RATE_DECAY)
        self.digits = {part: tensors(*task.digits(part)) for part in ("train", "valid", "test")}

    def train(self, begin, end):
        self.model.train()
        X, y = self.digits["train"]
        for offset in self.offsets[begin:end]:
            rows = slice(offset, offset + self.config.batch_size)
            self.optimizer.zero_grad(set_to_none=True)
            loss, accuracy = self.forward(self.model, X[rows], y[rows])
            loss.backward()
            self.optimizer.step()
            self.schedule.step()
            accuracy.item()
            yield loss.item()

    @torch.inference_mode()
    def evaluate(self, part):
        self.model.eval()
        X, y = self.digits[part]
        return (self.model(X).argmax(1) == y).float().mean().item()
